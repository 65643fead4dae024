"""Guides on the tiny model: their numbers from one plain forward pass and the logarithm's definition."""

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import (
    Abstention,
    ExactMatch,
    GoldLikelihood,
    LanguageModel,
    MeanLogLikelihood,
    MultipleChoice,
    MultiTask,
    guide_of,
)
from swarm_lightning.objectives.guides import log_share
from swarm_lightning.objectives.protocol import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COLOUR = Example("Which is a colour?", "B", {"A": "seven", "B": "red", "C": "a river"})
ANIMAL = Example("Which is an animal?", "A", {"A": "a fox", "B": "stone"})
TOWN = Example("What is the capital of France?", "Paris")
SUM = Example("What is 12 plus 7?", " 19 ")


class ByHand:
    """Probabilities of texts by one full forward pass each, without batches or shared rows."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.model, self.tokenizer = model, tokenizer

    def logarithms(self, prompt: str, text: str) -> list[float]:
        # White space at the end of a prompt is one with what follows, as it is when the model writes it.
        before, whole = (self.tokenizer(one)["input_ids"] for one in (prompt.rstrip(), prompt + text))
        with torch.no_grad():
            table = self.model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
        return [float(table[place - 1, whole[place]]) for place in range(len(before), len(whole))]


@pytest.fixture(scope="module")
def by_hand(plain_base: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> ByHand:
    return ByHand(plain_base, tokenizer)


def scores(guide: Any, examples: list[Example], model: LanguageModel) -> list[float]:
    guide.check(examples, model.tokenizer)
    return [outcome.score for outcome in guide.evaluate(examples, model)]


@pytest.mark.parametrize("method", ["generate", "likelihood"])
def test_a_choice_s_guide_is_the_logarithm_of_the_right_letter_s_share(
    language_model: LanguageModel, by_hand: ByHand, method: Any
) -> None:
    objective = MultipleChoice(method)
    found = scores(guide_of(objective), [COLOUR, ANIMAL, COLOUR], language_model)
    assert found[0] == found[2]
    for example, score in zip((COLOUR, ANIMAL), found, strict=False):
        prompt = objective.prompt(example, by_hand.tokenizer)
        likely = {letter: math.exp(sum(by_hand.logarithms(prompt, f" {letter}"))) for letter in example.choices or {}}
        assert math.exp(score) == pytest.approx(likely[str(example.answer)] / sum(likely.values()), rel=1e-3)


def test_with_likelihood_the_guide_compares_what_the_objective_compares(
    language_model: LanguageModel, by_hand: ByHand
) -> None:
    objective = MultipleChoice("likelihood", scored="text", normalize="characters")
    (outcome,) = guide_of(objective).evaluate([COLOUR], language_model)
    prompt = objective.prompt(COLOUR, by_hand.tokenizer)
    values = {
        letter: math.exp(sum(by_hand.logarithms(prompt, f" {text}")) / len(text))
        for letter, text in (COLOUR.choices or {}).items()
    }
    assert math.exp(outcome.score) == pytest.approx(values["B"] / sum(values.values()), rel=1e-3)
    (chosen,) = objective.evaluate([COLOUR], language_model)
    assert outcome.answer == chosen.answer == max(values, key=lambda letter: values[letter])


@pytest.mark.parametrize(
    ("settings", "behind"),
    [({}, " Paris"), ({"template": "Q: {question}\nA: "}, "Paris"), ({"rule": "exact"}, " Paris")],
)
def test_an_exact_match_s_guide_is_the_softened_mean_logarithm_of_the_gold_answer_s_tokens(
    language_model: LanguageModel, by_hand: ByHand, settings: dict[str, Any], behind: str
) -> None:
    objective = ExactMatch(**settings)
    prompt = objective.prompt(TOWN, by_hand.tokenizer)
    found = by_hand.logarithms(prompt, behind)
    assert len(found) > 1
    wanted = math.log((math.exp(sum(found) / len(found)) + 0.1) / 1.1)
    assert scores(guide_of(objective), [TOWN], language_model) == pytest.approx([wanted], abs=1e-4)


def test_white_space_around_a_gold_answer_is_not_measured(language_model: LanguageModel) -> None:
    guide = guide_of(ExactMatch())
    tidy = Example(SUM.question, "19")
    assert scores(guide, [SUM], language_model) == scores(guide, [tidy], language_model)


def test_behind_a_chat_template_the_answer_follows_without_a_space(language_model: LanguageModel) -> None:
    prompts: list[tuple[str, tuple[str, ...], bool]] = []

    class Recorder:
        tokenizer, device = language_model.tokenizer, language_model.device
        select, generate = language_model.select, language_model.generate

        def loglikelihood(self, asked: Any, continuations: Any, add_special_tokens: bool = True) -> Any:
            prompts.extend((*one, add_special_tokens) for one in zip(asked, continuations, strict=True))
            return language_model.loglikelihood(asked, continuations, add_special_tokens)

    guide_of(ExactMatch(chat=True)).evaluate([TOWN], Recorder())
    assert prompts[0][1:] == (("Paris",), False)
    assert prompts[0][0].endswith("assistant:")


def test_a_guide_asks_the_prompts_of_its_objective_and_refuses_what_it_refuses(
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    for objective, example in ((ExactMatch(template="Say {question}"), TOWN), (MultipleChoice(), COLOUR)):
        assert guide_of(objective).prompt(example, tokenizer) == objective.prompt(example, tokenizer)
        assert guide_of(objective).bounds == (-math.inf, 0.0)
    with pytest.raises(InputError, match="Expected a gold answer in every example"):
        guide_of(ExactMatch()).check([Example("What?")], tokenizer)
    with pytest.raises(InputError, match="to be one of its choices"):
        guide_of(MultipleChoice()).check([Example("What?", "Z", {"A": "one", "B": "two"})], tokenizer)


def test_a_missing_gold_answer_scores_lowest(language_model: LanguageModel) -> None:
    nobody, town = GoldLikelihood(ExactMatch()).evaluate([Example("What?"), TOWN], language_model)
    assert nobody.score == math.log(0.1 / 1.1) < town.score
    nothing = Example("Which?", None, {"A": "one", "B": "two"})
    assert guide_of(MultipleChoice()).evaluate([nothing], language_model)[0].score == -1e6


@pytest.mark.parametrize(
    ("logarithms", "share"),
    [
        ((0.0, 0.0, 0.0, 0.0), math.log(1 / 4)),
        ((-1000.0, -1001.0), -math.log(1 + math.exp(-1))),  # no underflow: e^-1000 is none
        ((-math.inf, -2.0), -1e6),
        ((math.nan, -2.0), -1e6),
        ((-2.0, math.nan), -1e6),
        ((-math.inf, -math.inf), -1e6),
        ((-3e6, -1.0), -1e6),
    ],
)
def test_a_share_is_finite_whatever_the_likelihoods(logarithms: tuple[float, ...], share: float) -> None:
    assert log_share(logarithms, 0) == pytest.approx(share)


def test_what_is_smooth_already_is_its_own_guide() -> None:
    objective = MeanLogLikelihood()
    assert guide_of(objective) is objective


def test_an_objective_without_a_guide_and_one_that_scores_something_else_are_refused_by_name() -> None:
    class Stricter(ExactMatch):
        """Another score on the same questions."""

    for objective in (Abstention(), Stricter()):
        with pytest.raises(InputError, match=rf"but {type(objective).__name__} has none"):
            guide_of(objective)


def test_the_guides_of_several_tasks_are_combined_as_the_objective_says() -> None:
    parts: dict[str, Objective] = {"choice": MultipleChoice(), "match": ExactMatch()}
    examples = [Example("1", task="choice"), Example("2", task="match"), Example("3", task="match")]
    scores = [math.log(0.5), math.log(0.1), math.log(0.4)]  # geometric means 0.5 and 0.2

    def combined(**settings: Any) -> float:
        guide: Any = guide_of(MultiTask(parts, **settings))
        return float(guide.utility(scores, examples))

    assert combined(combine="mean") == pytest.approx((math.log(0.5) + math.log(0.2)) / 2)
    assert combined(combine="minimum") == pytest.approx(math.log(0.2))
    weighted = combined(combine="weighted", weights={"choice": 3, "match": 1})
    assert weighted == pytest.approx((3 * math.log(0.5) + math.log(0.2)) / 4)
    assert combined() == pytest.approx(2 / (1 / 0.5 + 1 / 0.2))  # harmonic, of probabilities
