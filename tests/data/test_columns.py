"""The column mapping."""

import pytest

from swarm_lightning.data.columns import read_columns
from swarm_lightning.errors import InputError


def test_every_part_has_a_column_of_its_name_by_default() -> None:
    columns = read_columns(None)
    assert columns.named == {"question", "prompt", "answer", "choices", "id", "icl_prompt"}
    assert columns.required == ()


def test_naming_the_question_or_the_prompt_switches_the_other_off() -> None:
    assert read_columns({"question": "q"}).prompt is None
    assert read_columns({"prompt": "p"}).question is None
    both = read_columns({"question": "q", "prompt": "p"})
    assert (both.question, both.prompt) == ("q", "p")


def test_a_part_that_is_null_is_not_read() -> None:
    columns = read_columns({"choices": None, "question": None})
    assert (columns.choices, columns.question, columns.prompt) == (None, None, "prompt")


def test_named_columns_are_required_and_one_for_each_choice_is_several() -> None:
    columns = read_columns({"question": "q", "choices": ["one", "two"], "id": "number"})
    assert columns.required == ("q", "one", "two")
    assert {"q", "one", "two", "number"} <= columns.named


def test_an_unknown_part_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match="got 'anwser'. Did you mean 'answer'"):
        read_columns({"anwser": "gold"})


@pytest.mark.parametrize("mapping", [{"answer": ["a", "b"]}, {"choices": []}, {"question": 3}, {"choices": ["a", 1]}])
def test_a_column_that_is_no_name_is_refused(mapping: dict) -> None:
    with pytest.raises(InputError, match="Expected the name of a column"):
        read_columns(mapping)


def test_both_parts_of_the_question_cannot_be_null() -> None:
    with pytest.raises(InputError, match="both are null"):
        read_columns({"question": None, "prompt": None})
