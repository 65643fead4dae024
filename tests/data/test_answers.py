"""Which choice a stored answer means."""

import pytest

from swarm_lightning.data.answers import Draft, settle_answers
from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError

NUMBERS = {"A": "2", "B": "3", "C": "4"}


def _settle(*answers: str | int | None, choices: dict[str, str] | None = NUMBERS) -> list[str | None]:
    drafts = [
        Draft(
            Example("?", None if answer is None else str(answer), choices, str(index)),
            tuple(choices or {}),
            isinstance(answer, int),
        )
        for index, answer in enumerate(answers)
    ]
    return [example.answer for example in settle_answers(drafts, "the set")]


def test_labels_stay_as_they_are() -> None:
    assert _settle("A", "C", "B") == ["A", "C", "B"]


def test_texts_of_choices_become_labels() -> None:
    assert _settle("3", "2", "4") == ["B", "A", "C"]


def test_text_that_fits_better_as_an_index_is_an_index_in_every_record() -> None:
    # "2" is the text of A, but 0 and 1 show that indices are meant: 2 is C.
    assert _settle("0", "1", "2") == ["A", "B", "C"]


def test_whole_numbers_are_indices_and_never_texts() -> None:
    assert _settle(2, 0) == ["C", "A"]


def test_whole_numbers_are_labels_where_the_labels_are_those_numbers() -> None:
    assert _settle(1, 2, choices={"1": "red", "2": "blue"}) == ["1", "2"]


def test_an_answer_that_does_not_fit_stays_as_it_is() -> None:
    assert _settle("A", "E", "3", None) == ["A", "E", "3", None]
    assert _settle(0, -1) == ["A", "-1"]


def test_indices_that_are_counted_from_one_are_refused() -> None:
    with pytest.raises(InputError, match="the set.*counted from 0.*record id 2 has the answer 3 with 3 choices"):
        _settle(1, 2, 3)


def test_an_index_counts_choices_that_are_empty_too() -> None:
    draft = Draft(Example("?", "2", {"A": "x", "C": "z"}), ("A", "B", "C"), numeric=True)
    assert settle_answers([draft], "the set")[0].answer == "C"
    empty = Draft(Example("?", "1", {"A": "x", "C": "z"}), ("A", "B", "C"), numeric=True)
    assert settle_answers([empty], "the set")[0].answer == "1"


def test_answers_without_choices_are_not_touched() -> None:
    assert _settle("0", 1, choices=None) == ["0", "1"]
