"""Splits in which one reply is right nearly everywhere."""

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.data.same_answers import find_same_answer


def _asked(answers: str, choices: int = 4) -> list[Example]:
    texts = {label: f"text {label}" for label in "ABCDE"[:choices]}
    return [Example(f"{index}?", answer, texts) for index, answer in enumerate(answers)]


def _free(answers: list[str]) -> list[Example]:
    return [Example(f"{index}?", answer) for index, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("answers", "choices"),
    [
        ("A" * 40, 3),
        ("D" * 18 + "AB", 4),
        ("A" * 6, 4),  # 4 * 0.25 ** 6 = 0.00098
        ("B" * 11, 2),  # 2 * 0.5 ** 11 = 0.00098
    ],
)
def test_a_right_choice_in_nearly_always_the_same_place_is_warned_of(answers: str, choices: int) -> None:
    notice = find_same_answer(_asked(answers, choices), "the split")
    assert notice is not None
    most = max(map(answers.count, "ABCD"))
    assert (notice.severity, notice.count) == ("warning", most)
    assert f"In {most} of {len(answers)} examples in the split" in notice.message


@pytest.mark.parametrize(
    ("answers", "choices"),
    [
        ("ABCD" * 20, 4),
        ("A" * 5, 4),  # 4 * 0.25 ** 5 = 0.0039
        ("B" * 10, 2),  # 2 * 0.5 ** 10 = 0.002
        ("A" * 15 + "B" * 5, 2),
        ("", 4),
    ],
)
def test_what_chance_can_give_or_what_leaves_much_to_win_is_not(answers: str, choices: int) -> None:
    assert find_same_answer(_asked(answers, choices), "the split") is None


def test_the_place_counts_and_not_the_label() -> None:
    examples = [Example(f"{index}?", f"x{index}", {f"x{index}": "a", "y": "b", "z": "c"}) for index in range(20)]
    notice = find_same_answer(examples, "the split")
    assert notice is not None
    assert "number 1" in notice.message


def test_without_choices_the_text_counts_from_twenty_answers_on() -> None:
    notice = find_same_answer(_free(["yes"] * 19 + ["no"]), "the split")
    assert notice is not None
    assert "19 of 20 examples in the split have the same answer ('yes')" in notice.message
    assert find_same_answer(_free(["yes"] * 19), "the split") is None
    assert find_same_answer(_free(["yes", "no"] * 20), "the split") is None
