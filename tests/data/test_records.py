"""From records to examples."""

import datetime
from typing import Any

import pytest

from swarm_lightning.data.columns import read_columns
from swarm_lightning.data.examples import Example
from swarm_lightning.data.records import read_examples
from swarm_lightning.data.tables import Table
from swarm_lightning.errors import InputError


def _read(*records: Any, columns: dict | None = None, **of_table: Any) -> list[Example]:
    return read_examples([Table("the set", records, **of_table)], read_columns(columns))[0]


def test_a_full_record_fills_every_part_of_an_example() -> None:
    record = {
        "question": "Which?",
        "answer": "B",
        "choices": {"A": "this", "B": "that"},
        "id": 7,
        "icl_prompt": "Solve.",
        "domain": "easy",
    }
    assert _read(record) == [Example("Which?", "B", {"A": "this", "B": "that"}, "7", "Solve.", {"domain": "easy"})]


def test_a_prompt_becomes_the_question_and_the_index_the_missing_id() -> None:
    assert _read({"prompt": "Tell me."}, {"prompt": "Go on."})[1] == Example("Go on.", identifier="1")


def test_where_a_question_is_there_the_prompt_is_an_extra() -> None:
    (example,) = _read({"question": "q", "prompt": "p"})
    assert (example.question, example.extras) == ("q", {"prompt": "p"})


def test_the_prompt_of_the_table_stands_before_every_question_but_those_with_their_own() -> None:
    examples = _read({"question": "1"}, {"question": "2", "icl_prompt": "own"}, in_context_prompt="common")
    assert [example.in_context_prompt for example in examples] == ["common", "own"]


@pytest.mark.parametrize(
    "choices",
    [
        {"A": "x", "B": "y"},
        ["x", "y"],
        {"text": ["x", "y"], "label": ["A", "B"]},
        [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}],
        '{"A": "x", "B": "y"}',
        '["x", "y"]',
        {"A": "x", "B": "y", "C": None, "D": float("nan")},
    ],
)
def test_choices_come_in_every_usual_form(choices: object) -> None:
    (example,) = _read({"question": "?", "answer": "A", "choices": choices})
    assert example.choices == {"A": "x", "B": "y"}


def test_one_column_for_each_choice_keeps_its_letter_where_one_is_empty() -> None:
    records = [
        {"q": "1", "gold": 2, "opa": "x", "opb": None, "opc": 3.0},
        {"q": "2", "gold": 0, "opa": "x", "opb": "y", "opc": "z"},
    ]
    examples = _read(*records, columns={"question": "q", "answer": "gold", "choices": ["opa", "opb", "opc"]})
    assert examples[0] == Example("1", "C", {"A": "x", "C": "3"}, "0")
    assert examples[1].answer == "A"


@pytest.mark.parametrize("empty", [None, {}, [], {"A": None}])
def test_no_choices_are_none(empty: object) -> None:
    assert _read({"question": "?", "answer": "yes", "choices": empty})[0].choices is None


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (42, "42"),
        (42.0, "42"),
        (0.5, "0.5"),
        ("0042", "0042"),
        (True, "True"),
        (datetime.datetime(2024, 5, 1), "2024-05-01"),
    ],
)
def test_answers_become_text(stored: object, text: str) -> None:
    assert _read({"question": "?", "answer": stored})[0].answer == text


@pytest.mark.parametrize("stored", [None, "", "  ", float("nan")])
def test_an_answer_that_is_not_there_is_none(stored: object) -> None:
    assert _read({"question": "?", "answer": stored})[0].answer is None


def test_class_numbers_become_class_names_without_choices() -> None:
    names = {"label": ["negative", "positive"]}
    examples = _read({"text": "Good.", "label": 1}, columns={"question": "text", "answer": "label"}, class_names=names)
    assert examples[0].answer == "positive"


def test_a_record_without_the_column_is_named_with_the_columns_there_are() -> None:
    with pytest.raises(InputError, match="'qestion' in the set, but record 1 lacks it; there are: answer, question"):
        _read({"qestion": "?"}, {"question": "?", "answer": "!"}, columns={"question": "qestion"})


def test_a_missing_column_hints_at_the_nearest() -> None:
    with pytest.raises(InputError, match="'golden'.*every record lacks it.*Did you mean 'gold'"):
        _read({"question": "?", "gold": "!"}, columns={"answer": "golden"})


def test_records_that_are_no_objects_are_refused_by_index() -> None:
    with pytest.raises(InputError, match="record 1 is str 'text'"):
        _read({"question": "?"}, "text")


def test_a_table_without_records_is_refused() -> None:
    with pytest.raises(InputError, match="the set, but it is empty"):
        _read()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"question": ["a", "b"]}, "text or a number in the column 'question', but record 0 of the set has list"),
        ({"question": "?", "answer": {"text": "x"}}, "column 'answer'"),
        ({"question": "?", "choices": "red"}, "got 'red'"),
        ({"question": "?", "choices": {"A": ["x"]}}, "Expected a text for each choice"),
        ({"question": "?", "choices": {"text": ["x"], "label": []}}, "0 labels and 1 texts"),
        ({"question": "?", "choices": list(range(27))}, "at most 26 choices"),
    ],
)
def test_values_of_the_wrong_form_are_refused(record: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _read(record)


def test_the_way_of_storing_answers_is_settled_over_all_tables() -> None:
    choices = ["2", "3", "4"]
    validation = Table("one", [{"question": "?", "answer": "2", "choices": choices}])
    test = Table("two", [{"question": "?", "answer": str(index), "choices": choices} for index in (0, 1)])
    examples = read_examples([validation, test], read_columns(None))
    assert [[example.answer for example in split] for split in examples] == [["C"], ["A", "B"]]


def test_marked_choices_bring_their_answer() -> None:
    stored = {"choices": ["x", "y"], "labels": [0, 1]}
    for choices in (stored, '{"choices": ["x", "y"], "labels": [0, 1]}'):
        (example,) = _read({"question": "?", "mc1": choices}, columns={"choices": "mc1"})
        assert (example.answer, example.choices) == ("B", {"A": "x", "B": "y"})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"choices": {"choices": ["x", "y"], "labels": [1, 1]}}, "exactly one right choice .* 2 of 2 are.*mc1_targets"),
        ({"choices": {"choices": ["x", "y"], "labels": [0, 0]}}, "but 0 of 2 are"),
        ({"choices": {"choices": ["x", "y"], "labels": [1]}}, "0 or 1 for each of the 2 choices"),
        ({"choices": {"choices": ["x", "y"], "labels": ["A", "B"]}}, "0 or 1 for each"),
        ({"choices": {"choices": ["x", "y"], "labels": [1, 0]}, "answer": "A"}, "has it in both"),
        ({"choices": {"text": ["x", "y"], "label": ["A", "A"]}}, "each label of the choices once, .*'A' 2 times"),
        ({"choices": {"A": "x", "A ": "y"}}, "each label of the choices once"),
        ({"choices": '["x", "\\ud83d"]'}, "valid Unicode in the choices of record 0"),
        ({"choices": '{"A": "x", "A": "y"}'}, "'A' comes 2 times"),
    ],
)
def test_choices_that_do_not_say_one_thing_are_refused(record: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _read({"question": "?", **record})


def test_whole_numbers_of_any_size_are_text() -> None:
    for number in (10**400, 10**5000):
        (example,) = _read({"question": number, "answer": -number, "choices": None, "id": number})
        zeros = "0" * (400 if number == 10**400 else 5000)
        assert (example.question, example.answer) == ("1" + zeros, "-1" + zeros)


def test_a_column_whose_name_has_white_space_around_is_pointed_out() -> None:
    with pytest.raises(InputError, match="the column 'answer' in the set, but it is called ' answer'"):
        _read({"question": "?", " answer": "!"})


def test_a_class_number_without_a_name_stays_a_number() -> None:
    assert _read({"question": "?", "answer": 7}, class_names={"answer": ["no", "yes"]})[0].answer == "7"
