"""What the replies of a base say of how it is asked."""

from typing import TYPE_CHECKING, Any

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives import ExactMatch, MultipleChoice, Objective, Outcome
from swarm_lightning.objectives.reply_hints import hints_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOICES = {"A": "stone", "B": "red", "C": "river", "D": "seven"}
EXAMPLES = [Example(f"Which is {place}?", "ABCD"[place % 4], CHOICES) for place in range(24)]
SURE = (0.4, 0.6)  # an interval without 1/4


def hints(
    tokenizer: "PreTrainedTokenizerBase",
    replies: list[str],
    objective: Any = None,
    interval: tuple[float, float] = SURE,
    examples: list[Example] = EXAMPLES,
) -> list[str]:
    objective = MultipleChoice() if objective is None else objective
    outcomes = [objective.score(reply, example) for reply, example in zip(replies, examples, strict=True)]
    return hints_of("base", objective, examples, outcomes, interval, tokenizer)


def mixed() -> list[str]:
    return [" " + "ABCD"[place // 6] for place in range(24)]


def test_a_model_that_does_something_gets_no_hint(tokenizer: "PreTrainedTokenizerBase") -> None:
    assert hints(tokenizer, mixed()) == []


@pytest.mark.parametrize(("low", "high", "told"), [(0.2, 0.3, True), (0.25, 0.4, True), (0.26, 0.4, False)])
def test_chance_is_one_in_as_many_choices(
    tokenizer: "PreTrainedTokenizerBase", low: float, high: float, told: bool
) -> None:
    found = hints(tokenizer, mixed(), interval=(low, high))
    assert [f"[{low:.4f}, {high:.4f}], holds 0.2500" in hint for hint in found] == [True] * told


def test_a_model_below_chance_is_told_too(tokenizer: "PreTrainedTokenizerBase") -> None:
    (hint,) = hints(tokenizer, mixed(), interval=(0.02, 0.07))
    assert "base is below chance: its 95% interval on validation, [0.0200, 0.0700], is below 0.2500" in hint


def test_replies_that_name_no_choice_are_told(tokenizer: "PreTrainedTokenizerBase") -> None:
    replies = mixed()
    assert hints(tokenizer, [" well then"] * 12 + replies[12:]) == []
    (hint,) = hints(tokenizer, [" well then"] * 13 + replies[13:])
    assert hint.startswith("The replies of base name no choice in 54% of cases. To try: likelihood of the texts")


def test_chance_is_a_mean_where_numbers_of_choices_differ(tokenizer: "PreTrainedTokenizerBase") -> None:
    two = [Example("Yes?", "A", {"A": "yes", "B": "no"})] * 12
    found = hints(tokenizer, mixed(), interval=(0.37, 0.38), examples=[*EXAMPLES[:12], *two])
    assert "holds 0.3750" in found[0]  # (12 / 4 + 12 / 2) / 24


def test_a_letter_that_is_always_the_same_is_told_with_other_ways(tokenizer: "PreTrainedTokenizerBase") -> None:
    (hint,) = hints(tokenizer, [" A"] * 23 + [" B"])
    assert hint.startswith("base answers A in 96% of cases, and it is right in 25%.")
    assert "scored: text" in hint
    assert "chat: true" in hint
    (hint,) = hints(tokenizer, [" A"] * 23 + [" B"], MultipleChoice(chat=True))
    assert "chat: true" not in hint


def test_a_letter_that_is_nearly_always_right_is_no_fault(tokenizer: "PreTrainedTokenizerBase") -> None:
    examples = [Example("Which?", "A", CHOICES)] * 24
    assert hints(tokenizer, [" A"] * 24, examples=examples) == []


def test_letters_that_were_compared_have_ways_of_their_own(tokenizer: "PreTrainedTokenizerBase") -> None:
    for objective, way in (
        (MultipleChoice("likelihood"), "To try: likelihood of the texts (scored: text);"),
        (MultipleChoice("likelihood", "text"), "To try: likelihood per token (normalize: tokens);"),
    ):
        outcomes = [Outcome("A", "A", float(example.answer == "A")) for example in EXAMPLES]
        (hint,) = hints_of("base", objective, EXAMPLES, outcomes, SURE, tokenizer)
        assert way in hint


def test_empty_replies_are_told_where_they_are_most(tokenizer: "PreTrainedTokenizerBase") -> None:
    objective = ExactMatch(stop=["\n"])
    (hint,) = hints(tokenizer, [" \n"] * 13 + [" B"] * 11, objective)
    assert hint.startswith("The replies of base are empty in 54% of cases.")
    assert "stop strings" in hint
    assert hints(tokenizer, [""] * 12 + [" B"] * 12, objective) == []


def test_replies_that_end_at_the_limit_are_told_where_they_have_not_come_to_a_right_answer(
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    long = "Let me think about the"
    limit = len(tokenizer(long, add_special_tokens=False)["input_ids"])
    objective: Objective = MultipleChoice(max_new_tokens=limit)
    (hint,) = hints(tokenizer, [long] * 13 + [" B"] * 11, objective)
    assert hint.startswith(f"The replies of base are cut off at max_new_tokens ({limit}) without a right answer in 54%")
    (hint,) = hints(tokenizer, [long] * 13 + [" B"] * 11, MultipleChoice(max_new_tokens=limit + 1))
    assert hint.startswith("The replies of base name no choice in 54% of cases.")
    right = [f" {example.answer}. {long}" for example in EXAMPLES]
    assert hints(tokenizer, right, objective) == []


def test_an_objective_that_scores_in_another_way_gets_none(tokenizer: "PreTrainedTokenizerBase") -> None:
    class Own:
        bounds = (0.0, 1.0)

    outcomes = [Outcome("", None, 0.0)] * 24
    assert hints_of("base", Own(), EXAMPLES, outcomes, (0.0, 0.0), tokenizer) == []  # type: ignore[arg-type]
