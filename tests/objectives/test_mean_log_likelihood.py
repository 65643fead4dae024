import math
from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives import LanguageModel, Likelihood, MeanLogLikelihood
from swarm_lightning.objectives.mean_log_likelihood import mean_logarithms

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EXAMPLES = [
    Example("Tell me a story about a fox.", "Once upon a time there was a small fox.", identifier="fox"),
    Example("What is 12 plus 7?", "19"),
    Example("What is the capital of France?", "Paris, and it is on a river."),
]


def mean_log_probability(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str, continuation: str
) -> float:
    """Mean log-probability of a continuation's tokens, by one full forward pass without any batch."""
    before = tokenizer(prompt)["input_ids"]
    whole = tokenizer(prompt + continuation)["input_ids"]
    with torch.no_grad():
        table = model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
    values = [float(table[place - 1, whole[place]]) for place in range(len(before), len(whole))]
    return sum(values) / len(values)


def test_the_score_is_the_mean_log_probability_of_the_texts_tokens(
    language_model: LanguageModel, plain_base: "PreTrainedModel"
) -> None:
    objective = MeanLogLikelihood()
    objective.check(EXAMPLES, language_model.tokenizer)
    outcomes = objective.evaluate(EXAMPLES, language_model)
    for example, outcome in zip(EXAMPLES, outcomes, strict=True):
        expected = mean_log_probability(plain_base, language_model.tokenizer, example.question, f" {example.answer}")
        assert outcome.score == pytest.approx(expected, abs=1e-4)
        assert (outcome.reply, outcome.answer) == (example.answer, None)
    assert objective.bounds == (-math.inf, 0.0)


@pytest.mark.parametrize(
    ("settings", "answer", "prompt", "continuation"),
    [
        ({"template": "Q: {question}\n"}, "19", "Q: What?\n", "19"),  # white space is there already
        ({}, "\n19", "What?", "\n19"),
        ({"separator": ""}, "19", "What?", "19"),
        ({"separator": "\n\n"}, "19", "What?", "\n\n19"),
        ({"chat": True}, "19", "<s>user: What?</s>\nassistant:", "19"),
    ],
)
def test_what_stands_between_prompt_and_text(
    language_model: LanguageModel,
    plain_base: "PreTrainedModel",
    settings: dict[str, str],
    answer: str,
    prompt: str,
    continuation: str,
) -> None:
    objective = MeanLogLikelihood(**settings)
    example = Example("What?", answer)
    assert objective.prompt(example, language_model.tokenizer) == prompt
    tokens = language_model.tokenizer(
        [prompt.rstrip(), prompt + continuation], add_special_tokens=not objective.template.chat
    )["input_ids"]
    with torch.no_grad():
        table = plain_base(torch.tensor([tokens[1]])).logits[0].log_softmax(dim=-1)
    places = range(len(tokens[0]), len(tokens[1]))
    expected = sum(float(table[place - 1, tokens[1][place]]) for place in places) / len(places)
    assert objective.evaluate([example], language_model)[0].score == pytest.approx(expected, abs=1e-4)


def test_the_text_can_come_from_a_column_of_its_own(language_model: LanguageModel) -> None:
    example = Example("What is 12 plus 7?", "A", {"A": "19", "B": "20"}, extras={"explanation": "It is 19."})
    plain = Example("What is 12 plus 7?", "It is 19.")
    named, direct = MeanLogLikelihood("explanation"), MeanLogLikelihood()
    assert named.evaluate([example], language_model) == direct.evaluate([plain], language_model)


@pytest.mark.parametrize(
    ("logarithm", "tokens", "expected"),
    [
        (-3.0, 2, -1.5),
        (0.0, 1, 0.0),
        (1e-7, 1, 0.0),  # rounding of a certain token
        (math.nan, 3, -1_000_000),
        (-math.inf, 3, -1_000_000),
        (math.inf, 3, -1_000_000),
        (-1e9, 1, -1_000_000),
    ],
)
def test_every_likelihood_gives_a_finite_score_and_a_broken_one_the_lowest(
    logarithm: float, tokens: int, expected: float
) -> None:
    assert mean_logarithms([[Likelihood(logarithm, tokens, characters=9)]]) == [expected]


def test_a_broken_particle_is_the_worst_and_does_not_end_the_run(
    tiny_base_folder: "Path", tiny_experts_folder: "Path", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    pool = load_pool(str(tiny_experts_folder))
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    positions = pool.vectors.clone()
    positions[1] *= 1e30  # its activations overflow
    positions[2] = math.nan
    evaluation = Evaluator(ResidentRunner(adapted, tokenizer), MeanLogLikelihood()).evaluate(positions, EXAMPLES)
    assert evaluation.utilities[1:3].tolist() == [-math.inf, -math.inf]
    assert evaluation.utilities[[0, 3]].isfinite().all()
    assert (evaluation.utilities[[0, 3]] > -100).all()
    # The others are what they are without it.
    alone = Evaluator(ResidentRunner(adapted, tokenizer), MeanLogLikelihood()).evaluate(pool.vectors[[0, 3]], EXAMPLES)
    assert evaluation.utilities[[0, 3]].allclose(alone.utilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("continuation", "example", "message"),
    [
        (None, Example("?", None, identifier="9"), "has None"),
        (None, Example("?", " \n", identifier="9"), "text to measure in every example"),
        ("style", Example("?", "x", identifier="9", extras={"tone": "y"}), "Its other columns are tone"),
        ("style", Example("?", "x", identifier="9", extras={"style": ""}), "has ''"),
    ],
)
def test_an_example_without_a_text_is_refused_early(
    continuation: str | None, example: Example, message: str, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    with pytest.raises(InputError, match=message) as error:
        MeanLogLikelihood(continuation).check([example], tokenizer)
    assert "'9'" in str(error.value)


def test_a_template_that_the_examples_cannot_fill_is_refused_early(tokenizer: "PreTrainedTokenizerBase") -> None:
    with pytest.raises(InputError, match=r"names \{context\}"):
        MeanLogLikelihood(template="{context}").check(EXAMPLES, tokenizer)
