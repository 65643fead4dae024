"""Mixtures of particles, against plain `peft` models whose distributions are mixed outside of this package."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.text_rows import TextRows
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.mixtures.mixture import Averaged
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.runners.mixture import MixedExperts, MixtureRunner, Mixtures
from swarm_lightning.evaluation.runners.resident import Particles, ResidentRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
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
    runner = ResidentRunner(AdaptedModel(model, pool), tokenizer, EngineSettings(rows=4))
    return Evaluator(runner, ExactMatch(max_new_tokens=NEW_TOKENS))


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


def weigh(experts: MixedExperts, prompts: Sequence[str], sequences: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([weights_of(prompt) for prompt in prompts])


def mixed_logits(
    plain: "list[PeftModel]", tokens: list[int], weights: tuple[float, float], averaged: Averaged
) -> Tensor:
    """Return what two models and two weights give after a text: numbers whose order is that of the mixture."""
    with torch.no_grad():
        logits = [model(torch.tensor([tokens])).logits[0, -1].double() for model in plain]
    if averaged == "probabilities":
        logits = [one.softmax(dim=-1) for one in logits]
    return weights[0] * logits[0] + weights[1] * logits[1]


def rows_of(
    evaluator: Evaluator, vectors: Tensor, averaged: Averaged, rows: int, noise: RowNoise | None = None
) -> TextRows:
    engine = evaluator.runner.engine
    return TextRows(engine, Mixtures(MixedExperts(engine, vectors), [weigh], averaged), [0] * rows, noise=noise)


def scores_of(evaluator: Evaluator, vectors: Tensor, examples: Sequence[Example]) -> Tensor:
    runner = MixtureRunner(evaluator.runner, vectors, "probabilities")
    return evaluator.on(runner).evaluate([weigh], examples).scores[0]


@pytest.mark.smoke
@pytest.mark.parametrize("averaged", ["probabilities", "logits"])
def test_replies_are_those_of_two_peft_models_mixed_token_by_token(
    evaluator: Evaluator, pool: ExpertPool, plain: "list[PeftModel]", averaged: Averaged
) -> None:
    prompts = [prompt_of(question) for question in QUESTIONS]
    found = rows_of(evaluator, pool.vectors, averaged, 5).generate(prompts, GenerationSettings(NEW_TOKENS))
    expected = []
    for prompt in prompts:
        tokens = evaluator.runner.engine.tokenizer(prompt)["input_ids"]
        reply: list[int] = []
        while len(reply) < NEW_TOKENS:
            chosen = int(mixed_logits(plain, tokens + reply, weights_of(prompt), averaged).argmax())
            if chosen == evaluator.runner.engine.tokenizer.eos_token_id:
                break
            reply.append(chosen)
        expected.append(evaluator.runner.engine.tokenizer.decode(reply, skip_special_tokens=True))
    assert found == expected
    assert len(set(found)) > 1


@pytest.mark.parametrize("averaged", ["probabilities", "logits"])
def test_likelihoods_are_those_of_the_mixed_distributions(
    evaluator: Evaluator, pool: ExpertPool, plain: "list[PeftModel]", averaged: Averaged
) -> None:
    prompts, choices = [prompt_of(question) for question in QUESTIONS[1:4]], [" A red fox", " B", " Paris"]
    found = rows_of(evaluator, pool.vectors, averaged, 3).loglikelihood(prompts, [choices] * 3)
    for prompt, row in zip(prompts, found, strict=True):
        for choice, likelihood in zip(choices, row, strict=True):
            tokens = evaluator.runner.engine.tokenizer(prompt + choice)["input_ids"]
            split = len(tokens) - likelihood.tokens
            total = 0.0
            for place in range(split, len(tokens)):
                mixed = mixed_logits(plain, tokens[:place], weights_of(prompt), averaged)
                logarithms = mixed.log_softmax(dim=-1) if averaged == "logits" else mixed.log()
                total += float(logarithms[tokens[place]])
            assert likelihood.logarithm == pytest.approx(total, abs=1e-4)


def test_perplexities_are_those_of_the_particles_alone(
    evaluator: Evaluator, pool: ExpertPool, plain: "list[PeftModel]"
) -> None:
    sequences = [[1], *(evaluator.runner.engine.tokenizer(question)["input_ids"] for question in QUESTIONS[:2])]
    found = MixedExperts(evaluator.runner.engine, pool.vectors).mean_loglikelihoods(sequences)
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
    assert scores_of(evaluator, twice, examples).equal(alone)
    assert evaluator.asked - before == 2 * len(examples)


def test_sampled_replies_are_drawn_from_the_mixture_by_the_rows_own_noise(
    evaluator: Evaluator, pool: ExpertPool
) -> None:
    prompts = [prompt_of(question) for question in QUESTIONS]
    noise = RowNoise(3, (0,) * 5, tuple(Example(question) for question in QUESTIONS))
    settings = GenerationSettings(NEW_TOKENS, temperature=1.0)
    vectors = pool.vectors[:1].expand(2, -1).contiguous()
    engine = evaluator.runner.engine
    alone = TextRows(engine, Particles(engine, Crowd(engine.adapted, vectors)), [0] * 5, noise=noise)
    mixed = rows_of(evaluator, vectors, "probabilities", 5, noise).generate(prompts, settings)
    assert mixed == alone.generate(prompts, settings)
    assert mixed != rows_of(evaluator, pool.vectors, "probabilities", 5).generate(
        prompts, GenerationSettings(NEW_TOKENS)
    )


def test_a_particle_without_numbers_breaks_the_mixture(evaluator: Evaluator, pool: ExpertPool) -> None:
    vectors = pool.vectors.clone()
    vectors[1] = torch.nan
    examples = [Example(question, GOLD[place]) for place, question in enumerate(QUESTIONS)]
    assert scores_of(evaluator, vectors, examples).tolist() == [-math.inf] * len(examples)


def test_several_mixtures_are_asked_together_by_weights_of_their_own(evaluator: Evaluator, pool: ExpertPool) -> None:
    examples = [Example(question, GOLD[place]) for place, question in enumerate(QUESTIONS)]
    runner = MixtureRunner(evaluator.runner, pool.vectors, "probabilities")
    asking, before = evaluator.on(runner), evaluator.asked
    # All of the weight on one of the experts, and the weights of every prompt.
    found = asking.evaluate([*torch.eye(2), weigh], examples, whole_replies=True)
    assert evaluator.asked - before == 2 * 3 * len(examples)
    alone = evaluator.evaluate(pool.vectors, examples, whole_replies=True)
    assert found.outcomes[:2] == alone.outcomes
    assert found.outcomes[2] == asking.evaluate([weigh], examples, whole_replies=True).outcomes[0]
    assert found.outcomes[0] != found.outcomes[1]


def test_the_journal_and_the_exact_stop_know_mixtures_too(
    evaluator: Evaluator, pool: ExpertPool, tmp_path: Path
) -> None:
    examples = [Example(question, GOLD[place]) for place, question in enumerate(QUESTIONS)]
    asking = evaluator.on(MixtureRunner(evaluator.runner, pool.vectors, "logits"))
    journal = ScoreJournal(tmp_path)
    journal.begin("a", Ranks())
    first = asking.evaluate(torch.eye(2), examples, journal=journal)
    generated = evaluator.runner.generated
    journal = ScoreJournal(tmp_path)
    journal.begin("a", Ranks())
    assert asking.evaluate(torch.eye(2), examples, journal=journal).scores.equal(first.scores)
    assert evaluator.runner.generated == generated
    # A utility of 1 can't be beaten: nothing need be asked.
    nan = torch.full((2,), math.nan, dtype=torch.float64)
    stakes = Stakes(torch.ones(2, dtype=torch.float64), -math.inf, torch.zeros(2, len(examples)), nan)
    assert asking.evaluate(torch.eye(2), examples, stakes=stakes).evaluated == 0


def test_the_base_is_the_same_to_any_runner(evaluator: Evaluator, pool: ExpertPool) -> None:
    examples = [Example(question, GOLD[place]) for place, question in enumerate(QUESTIONS)]
    asking, before = evaluator.on(MixtureRunner(evaluator.runner, pool.vectors, "logits")), evaluator.asked
    assert asking.evaluate_base(examples).outcomes == evaluator.evaluate_base(examples).outcomes
    assert evaluator.asked - before == 2 * len(examples)


def test_what_can_t_be_mixed_is_refused(
    evaluator: Evaluator, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = MixtureRunner(evaluator.runner, pool.vectors, "logits")
    with pytest.raises(ValueError, match=r"weights of 2 experts for every mixture, but got \[3\]"):
        evaluator.on(runner).evaluate(torch.ones(1, 3), [Example("Why?", "e")])
    monkeypatch.setattr(evaluator.runner.engine.adapted, "most_particles", 1)
    with pytest.raises(InputError, match="full checkpoints, which take turns"):
        MixtureRunner(evaluator.runner, pool.vectors, "logits")
