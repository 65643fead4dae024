"""What is found in splits that can be read."""

from swarm_lightning.data.checks import check_splits, find_unscorable
from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.data.notices import Notice

YES_NO = {"A": "yes", "B": "no"}


def _find(kind: str, validation: list[Example], test: list[Example]) -> list[Notice]:
    splits = ExampleSplits("set", tuple(validation), tuple(test))
    return [notice for notice in check_splits(splits) if notice.kind == kind]


def test_clean_splits_give_no_notice() -> None:
    splits = ExampleSplits("set", (Example("1?", "A", YES_NO, "0"),), (Example("2?", "B", YES_NO, "0"),))
    assert check_splits(splits) == []


def test_a_leak_is_found_whatever_the_white_space() -> None:
    (leak,) = _find(
        "leak",
        [Example("Is  it\nso?", "A", YES_NO, "v")],
        [Example("Is it so? ", "A", {"A": " yes", "B": "no"}, "t0"), Example("Another?", "A", YES_NO, "t1")],
    )
    assert (leak.severity, leak.count, leak.identifiers) == ("warning", 1, ("t0",))
    assert "1 of 2 test examples" in leak.message


def test_the_same_question_with_other_choices_is_no_leak() -> None:
    assert (
        _find("leak", [Example("Pick one.", "A", YES_NO)], [Example("Pick one.", "A", {"A": "up", "B": "down"})]) == []
    )


def test_choices_in_another_order_are_a_leak_that_is_counted_apart() -> None:
    (leak,) = _find("leak", [Example("So?", "A", YES_NO, "v")], [Example("So?", "B", {"A": "no", "B": "yes"}, "t")])
    assert leak.identifiers == ("t",)
    assert "0 of 1 test examples" in leak.message
    assert "1 more stand there with the same choices in another order" in leak.message


def test_a_leak_names_the_first_five_ids() -> None:
    examples = [Example(f"{index}?", "1", identifier=f"id{index}") for index in range(7)]
    (leak,) = _find("leak", examples, examples)
    assert "ids id0, id1, id2, id3, id4 and 2 more" in leak.message
    assert leak.count == 7


def test_duplicates_inside_a_split_say_where_answers_contradict() -> None:
    test = [Example("1?", "x", identifier="a"), Example("1?", "x", identifier="b"), Example("1?", "y", identifier="c")]
    (duplicates,) = _find("duplicates", [Example("0?", "x")], test)
    assert duplicates.identifiers == ("b", "c")
    assert "1 of them with another answer" in duplicates.message
    assert "test split" in duplicates.message


def test_a_missing_answer_counts_only_where_others_have_one() -> None:
    open_prompts = [Example("Tell me.", identifier="0")]
    assert _find("no answer", open_prompts, [Example("Tell me more.")]) == []
    (missing,) = _find("no answer", open_prompts, [Example("2?", "2")])
    assert missing.identifiers == ("0",)
    assert "validation split" in missing.message


def test_an_answer_that_is_no_choice_is_named_with_the_choices() -> None:
    (wrong,) = _find("answer not among the choices", [Example("?", "A", YES_NO)], [Example("!", "E", YES_NO, "9")])
    assert wrong.identifiers == ("9",)
    assert "'E'" in wrong.message
    assert "A, B" in wrong.message


def test_an_empty_split_is_an_error_and_comes_first() -> None:
    same = Example("1?", "1", identifier="a")
    notices = check_splits(ExampleSplits("set", (same, same), ()))
    assert [notice.severity for notice in notices] == ["error", "warning", "info"]
    assert "the test split of 'set'" in notices[0].message


def test_equal_choices_are_a_warning_only_where_they_hold_the_answer() -> None:
    choices = {"A": "one", "B": "one ", "C": "two"}
    (harmless,) = _find("equal choices", [Example("?", "C", choices)], [Example("!", "1")])
    (harmful,) = _find("equal choices", [Example("?", "A", choices)], [Example("!", "1")])
    assert (harmless.severity, harmful.severity) == ("info", "warning")


def test_repeated_ids_are_counted() -> None:
    validation = [Example(f"{index}?", "1", identifier=identifier) for index, identifier in enumerate("aabcc")]
    (repeated,) = _find("repeated ids", validation, [Example("!", "1")])
    assert (repeated.severity, repeated.count, repeated.identifiers) == ("info", 4, ("a", "c"))


def test_unscorable_examples_are_found_by_index_each_for_one_reason() -> None:
    examples = [Example(" ", "1"), Example("?", None), Example("?", "C", YES_NO), Example("?", "A", YES_NO)]
    found = {notice.kind: indices for indices, notice in find_unscorable(examples, "here", answers_expected=True)}
    assert found == {"no question": [0], "no answer": [1], "answer not among the choices": [2]}
