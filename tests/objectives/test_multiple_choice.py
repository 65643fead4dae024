import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import LanguageModel, Likelihood, MultipleChoice, Outcome
from swarm_lightning.objectives.multiple_choice import most_likely
from swarm_lightning.objectives.protocol import GenerationSettings, RowDecided

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COLOURS = Example("Which is a colour?", "B", {"A": "stone", "B": "red", "C": "a river bed"}, identifier="4")


def test_the_letter_is_read_from_the_reply() -> None:
    objective = MultipleChoice()
    assert objective.score(" (B).", COLOURS) == Outcome(" (B).", "B", 1.0)
    assert objective.score(" Stone", COLOURS) == Outcome(" Stone", "A", 0.0)
    assert objective.score(" A pebble", COLOURS) == Outcome(" A pebble", None, 0.0)


@pytest.mark.parametrize(
    ("normalize", "expected"),
    # Divided by tokens: -2/1, -3/2, -3/1; by characters: -2/5, -3/2, -3/10.
    [("none", 0), ("tokens", 1), ("characters", 2)],
)
def test_the_likelihood_is_divided_as_asked(normalize: str, expected: int) -> None:
    row = [
        Likelihood(-2.0, tokens=1, characters=5),
        Likelihood(-3.0, tokens=2, characters=2),
        Likelihood(-3.0, tokens=1, characters=10),
    ]
    assert most_likely(row, normalize) == expected


def test_of_equally_likely_choices_the_first_is_chosen() -> None:
    assert most_likely([Likelihood(-3.0, 1, 1), Likelihood(-2.0, 1, 1), Likelihood(-2.0, 1, 1)], "none") == 1


def test_choices_that_are_no_number_are_never_chosen() -> None:
    broken, bad = Likelihood(math.nan, 1, 1), Likelihood(-9.0, 1, 1)
    assert most_likely([broken, bad], "none") == 1
    assert most_likely([bad, broken], "none") == 0
    assert most_likely([broken, broken], "none") is None
    assert most_likely([Likelihood(-math.inf, 1, 1), broken], "none") == 0


def log_probability(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str, continuation: str
) -> tuple[float, int]:
    """Log-probability of a continuation and its tokens, by one full forward pass without any batch."""
    before = tokenizer(prompt)["input_ids"]
    whole = tokenizer(prompt + continuation)["input_ids"]
    with torch.no_grad():
        table = model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
    tokens = range(len(before), len(whole))
    return sum(float(table[place - 1, whole[place]]) for place in tokens), len(tokens)


@pytest.mark.parametrize("normalize", ["none", "tokens", "characters"])
@pytest.mark.parametrize("scored", ["letter", "text"])
def test_the_most_likely_continuation_is_chosen(
    language_model: LanguageModel, plain_base: "PreTrainedModel", scored: str, normalize: str
) -> None:
    examples = [Example(f"Which is {word}?", "B", COLOURS.choices) for word in ("a colour", "hard", "wet", "old", "12")]
    objective = MultipleChoice("likelihood", scored, normalize)  # type: ignore[arg-type]
    chosen = []
    for example in examples:
        assert example.choices is not None
        prompt = f"Question: {example.question}\nA: stone\nB: red\nC: a river bed\nThe answer is"
        values = []
        for letter, text in example.choices.items():
            shown = letter if scored == "letter" else text
            value, tokens = log_probability(plain_base, language_model.tokenizer, prompt, " " + shown)
            values.append(value / {"none": 1, "tokens": tokens, "characters": len(shown)}[normalize])
        chosen.append("ABC"[values.index(max(values))])
    outcomes = objective.evaluate(examples, language_model)
    assert [outcome.answer for outcome in outcomes] == chosen
    assert [outcome.score for outcome in outcomes] == [float(letter == "B") for letter in chosen]


def test_there_is_no_second_space_after_a_line_break(
    language_model: LanguageModel, plain_base: "PreTrainedModel"
) -> None:
    objective = MultipleChoice("likelihood", template="{question}\n{choices}\nAnswer:\n")
    outcome = objective.evaluate([COLOURS], language_model)[0]
    prompt = "Which is a colour?\nA: stone\nB: red\nC: a river bed\nAnswer:"
    # The line break is the same for all choices, so it does not change their order.
    values = {
        letter: log_probability(plain_base, language_model.tokenizer, prompt, f"\n{letter}")[0] for letter in "ABC"
    }
    assert outcome.answer == max(values, key=lambda letter: values[letter])


def test_an_example_without_a_gold_answer_is_answered_and_scores_nothing(language_model: LanguageModel) -> None:
    open_example = Example(COLOURS.question, None, COLOURS.choices)
    for objective in (MultipleChoice(), MultipleChoice("likelihood")):
        outcome = objective.evaluate([open_example], language_model)[0]
        assert outcome.score == 0.0
    assert outcome.answer in ("A", "B", "C")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "guess"}, "method to be one of generate, likelihood"),
        ({"method": "likelihood", "scored": "word"}, "scored to be one of letter, text"),
        ({"method": "likelihood", "normalize": "length"}, "normalize to be one of none, tokens, characters"),
        ({"scored": "text"}, "only with method: likelihood"),
        ({"normalize": "tokens"}, "only with method: likelihood"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"template": ""}, "placeholder"),
    ],
)
def test_values_that_cannot_be_used_are_refused_early(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultipleChoice(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example("?", "A", identifier="4"), "two or more choices"),
        (Example("?", "A", {"A": "red"}, identifier="4"), "two or more choices"),
        (Example("?", "A", {"A": "red", "B": " "}, identifier="4"), "each with a letter and a text"),
        (Example("?", "E", {"A": "red", "B": "blue"}, identifier="4"), r"one of its choices \(A, B\), but it is 'E'"),
        (Example("?", None, {"A": "red", "B": "blue"}, identifier="4"), "but it is None"),
    ],
)
def test_examples_that_cannot_be_scored_are_refused_early(
    example: Example, message: str, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    with pytest.raises(InputError, match=message) as error:
        MultipleChoice().check([COLOURS, example], tokenizer)
    assert "'4'" in str(error.value)


def test_a_model_is_told_which_rows_are_settled(language_model: LanguageModel) -> None:
    objective = MultipleChoice(max_new_tokens=30)
    assert objective.is_settled("The answer is B because ", COLOURS)
    assert not objective.is_settled("The answer is B", COLOURS)
    seen: list[tuple[int, str]] = []

    class Recorder:
        """Hands the objective's judgement on, and remembers what it was asked."""

        tokenizer = language_model.tokenizer
        device = language_model.device
        loglikelihood = language_model.loglikelihood
        select = language_model.select

        def generate(
            self,
            prompts: Sequence[str],
            settings: GenerationSettings,
            add_special_tokens: bool = True,
            decided: RowDecided | None = None,
        ) -> list[str]:
            assert decided is not None
            texts = ["(B) is", "The answer is C.\n", "no idea"]
            seen.extend((row, text) for row, text in enumerate(texts) if decided(row, text))
            return texts

    outcomes = objective.evaluate([COLOURS, COLOURS, COLOURS], Recorder())
    assert seen == [(1, "The answer is C.\n")]
    assert [outcome.answer for outcome in outcomes] == ["B", "C", None]


@pytest.mark.parametrize(
    ("reply", "strict", "published"),
    [
        (" A 7 8 8.", None, "A"),
        (" Both are", None, "B"),  # a capital letter inside a word
        (" C/A", None, "A"),  # of two, the first in the order of the choices
        ("I think it is C", "C", "C"),  # the last five characters
        ("     B", "B", "B"),  # white space around a reply does not count
        ("the RED one", "B", "B"),
        ("abc", None, None),  # no letter in small letters
        ("", None, None),
    ],
)
def test_the_published_rule_reads_what_the_published_code_reads(
    reply: str, strict: str | None, published: str | None
) -> None:
    assert MultipleChoice(rule="published").score(reply, COLOURS) == Outcome(reply, published, float(published == "B"))
    assert MultipleChoice().score(reply, COLOURS).answer == strict


@pytest.mark.parametrize("reply", [" B 7 8 8.", "All of B", " C: a river", "no letter at all", "  \n B   C", "I say B"])
def test_a_reply_is_settled_only_where_no_ending_changes_it(reply: str) -> None:
    objective = MultipleChoice(rule="published")
    endings = ("", " A", "A", "B", " red", ". C", "\n", " stone A ")
    for length in range(len(reply) + 1):
        if objective.is_settled(reply[:length], COLOURS):
            answers = {objective.score(reply[:length] + ending, COLOURS).answer for ending in endings}
            assert answers == {objective.score(reply, COLOURS).answer}
    assert objective.is_settled(reply, COLOURS) == any(letter in reply.strip()[:5] for letter in "ABC")
    assert not objective.is_settled(" B 7\ufffd", COLOURS)


def test_a_rule_is_for_replies_only() -> None:
    with pytest.raises(InputError, match="rule only with method: generate"):
        MultipleChoice("likelihood", rule="published")
    with pytest.raises(InputError, match="rule to be one of published"):
        MultipleChoice(rule="lenient")  # type: ignore[arg-type]
