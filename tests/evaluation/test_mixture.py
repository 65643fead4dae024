"""Mixtures of particles, against plain `peft` models whose distributions are mixed outside of this package."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine import ParticleRows
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.mixed_rows import MixedRows, mixture_scores
from swarm_lightning.evaluation.mixture import Space, mix
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.adapted import AdaptedModel
from swarm_lightning.experts.base_model import load_base
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.objectives.protocol import GenerationSettings
from tests.search.tiny_search import GOLD, prompt_of

if TYPE_CHECKING:
    from peft import PeftModel

QUESTIONS = ["What is 3 plus 4?", "What is the capital of France?", "Why?", "What is 12 plus 7? Tell me.", "Which fox?"]
NEW_TOKENS = 8
WEIGHTS = {"Question: Why?\nAnswer:": (0.1, 0.9)}


@pytest.fixture(scope="module")
def pool(tiny_experts_folder: Path) -> ExpertPool:
    return load_pool([str(tiny_experts_folder / name) for name in ("colours", "towns")])


@pytest.fixture(scope="module")
def evaluator(tiny_base_folder: Path, pool: ExpertPool) -> Evaluator:
    model, tokenizer = load_base(str(tiny_base_folder), "auto", torch.device("cpu"), False)
    # Four rows are two prompts a pass: the five prompts need three.
    return Evaluator(
        AdaptedModel(model, pool), tokenizer, ExactMatch(max_new_tokens=NEW_TOKENS), EngineSettings(rows=4)
    )


@pytest.fixture(scope="module")
def plain(tiny_base_folder: Path, tiny_experts_folder: Path) -> "list[PeftModel]":
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folders = [str(tiny_experts_folder / name) for name in ("colours", "towns")]
    return [
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base_folder), folder).eval()
        for folder in folders
    ]


def weights_of(prompt: str) -> tuple[float, float]:
    return WEIGHTS.get(prompt, (0.5, 0.5))


def weigh(rows: MixedRows, prompts: Sequence[str], sequences: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([weights_of(prompt) for prompt in prompts])


def mixed_logits(plain: "list[PeftModel]", tokens: list[int], weights: tuple[float, float], space: Space) -> Tensor:
    """Return what two models and two weights give after a text: numbers whose order is that of the mixture."""
    with torch.no_grad():
        logits = [model(torch.tensor([tokens])).logits[0, -1].double() for model in plain]
    if space == "probabilities":
        logits = [one.softmax(dim=-1) for one in logits]
    return weights[0] * logits[0] + weights[1] * logits[1]


def rows_of(evaluator: Evaluator, pool: ExpertPool, space: Space, rows: int) -> MixedRows:
    from swarm_lightning.evaluation.crowd import Crowd

    return MixedRows(evaluator.engine, Crowd(evaluator.engine.adapted, pool.vectors), 2, weigh, space, rows=rows)


def test_probabilities_are_averaged_by_their_weights() -> None:
    # Distributions (0.2, 0.8) and (0.6, 0.4): with weights 1/4 and 3/4, (0.5, 0.5).
    logits = torch.tensor([[[0.2, 0.8]], [[0.6, 0.4]]]).log() + torch.tensor([1.0, 5.0])[:, None, None]
    found = mix(logits, torch.tensor([[0.25, 0.75]]), "probabilities")
    assert found.exp().flatten().tolist() == pytest.approx([0.5, 0.5])


def test_a_particle_of_no_weight_has_no_say() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    for space in ("probabilities", "logits"):
        found = mix(logits, torch.tensor([[0.0, 1.0]] * 3), space)
        torch.testing.assert_close(found, logits[1].log_softmax(dim=-1))


@pytest.mark.smoke
@pytest.mark.parametrize("space", ["probabilities", "logits"])
def test_replies_are_those_of_two_peft_models_mixed_token_by_token(
    evaluator: Evaluator, pool: ExpertPool, plain: "list[PeftModel]", space: Space
) -> None:
    prompts = [prompt_of(question) for question in QUESTIONS]
    found = rows_of(evaluator, pool, space, 5).generate(prompts, GenerationSettings(NEW_TOKENS))
    expected = []
    for prompt in prompts:
        tokens = evaluator.engine.tokenizer(prompt)["input_ids"]
        reply: list[int] = []
        while len(reply) < NEW_TOKENS:
            chosen = int(mixed_logits(plain, tokens + reply, weights_of(prompt), space).argmax())
            if chosen == evaluator.engine.tokenizer.eos_token_id:
                break
            reply.append(chosen)
        expected.append(evaluator.engine.tokenizer.decode(reply, skip_special_tokens=True))
    assert found == expected
    assert len(set(found)) > 1


@pytest.mark.parametrize("space", ["probabilities", "logits"])
def test_likelihoods_are_those_of_the_mixed_distributions(
    evaluator: Evaluator, pool: ExpertPool, plain: "list[PeftModel]", space: Space
) -> None:
    prompts, choices = [prompt_of(question) for question in QUESTIONS[1:4]], [" A red fox", " B", " Paris"]
    found = rows_of(evaluator, pool, space, 3).loglikelihood(prompts, [choices] * 3)
    for prompt, row in zip(prompts, found, strict=True):
        for choice, likelihood in zip(choices, row, strict=True):
            tokens = evaluator.engine.tokenizer(prompt + choice)["input_ids"]
            split = len(tokens) - likelihood.tokens
            total = 0.0
            for place in range(split, len(tokens)):
                mixed = mixed_logits(plain, tokens[:place], weights_of(prompt), space)
                logarithms = mixed.log_softmax(dim=-1) if space == "logits" else mixed.log()
                total += float(logarithms[tokens[place]])
            assert likelihood.logarithm == pytest.approx(total, abs=1e-4)


def test_perplexities_are_those_of_the_particles_alone(
    evaluator: Evaluator, pool: ExpertPool, plain: "list[PeftModel]"
) -> None:
    sequences = [[1], *(evaluator.engine.tokenizer(question)["input_ids"] for question in QUESTIONS[:2])]
    found = rows_of(evaluator, pool, "logits", 3).mean_loglikelihoods(sequences)
    assert found[0].tolist() == [0.0, 0.0]
    for row, tokens in enumerate(sequences[1:], start=1):
        for particle, model in enumerate(plain):
            ids = torch.tensor([tokens])
            with torch.no_grad():
                loss = float(model(ids, labels=ids).loss)  # transformers' own mean cross-entropy
            assert float(found[row, particle]) == pytest.approx(-loss, abs=1e-4)


def test_a_mixture_of_equals_scores_as_one_and_costs_as_many_as_are_mixed(
    evaluator: Evaluator, pool: ExpertPool
) -> None:
    examples = [Example(question, GOLD[place]) for place, question in enumerate(QUESTIONS)]
    alone = evaluator.evaluate(pool.vectors[:1], examples).scores[0]
    before = evaluator.asked
    twice = pool.vectors[:1].expand(2, -1).contiguous()
    assert mixture_scores(evaluator, twice, weigh, "probabilities", examples).equal(alone)
    assert evaluator.asked - before == 2 * len(examples)


def test_sampled_replies_are_drawn_from_the_mixture_by_the_rows_own_noise(
    evaluator: Evaluator, pool: ExpertPool
) -> None:
    from swarm_lightning.evaluation.crowd import Crowd

    prompts = [prompt_of(question) for question in QUESTIONS]
    noise = RowNoise(3, (0,) * 5, tuple(Example(question) for question in QUESTIONS))
    settings = GenerationSettings(NEW_TOKENS, temperature=1.0)
    vectors = pool.vectors[:1].expand(2, -1).contiguous()
    crowd = Crowd(evaluator.engine.adapted, vectors)
    alone = ParticleRows(evaluator.engine, crowd, [0] * 5, noise=noise).generate(prompts, settings)
    mixed = MixedRows(evaluator.engine, crowd, 2, weigh, "probabilities", noise, 5).generate(prompts, settings)
    assert mixed == alone
    assert mixed != rows_of(evaluator, pool, "probabilities", 5).generate(prompts, GenerationSettings(NEW_TOKENS))


def test_a_particle_without_numbers_breaks_the_mixture(evaluator: Evaluator, pool: ExpertPool) -> None:
    vectors = pool.vectors.clone()
    vectors[1] = torch.nan
    examples = [Example(question, GOLD[place]) for place, question in enumerate(QUESTIONS)]
    scores = mixture_scores(evaluator, vectors, weigh, "probabilities", examples)
    assert scores.tolist() == [-math.inf] * len(examples)
