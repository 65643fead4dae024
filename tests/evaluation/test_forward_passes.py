"""Forward passes are the calls of the models: counted from outside, by a hook on each of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.runner import Runner
from swarm_lightning.evaluation.runners.mixture import MixtureRunner
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives import ExactMatch, MultipleChoice, Objective
from tests.evaluation.any_models import save_families
from tests.evaluation.calls_of_models import calls_of
from tests.evaluation.runners.test_token_swarm import model_of, runner_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOICES = dict(zip("ABCD", ("red", "a town", "seven", "a bear"), strict=True))
EXAMPLES = [Example(f"Which is number {place}?", "A", CHOICES, identifier=str(place)) for place in range(9)]
OBJECTIVES: dict[str, Objective] = {
    "generation": ExactMatch(max_new_tokens=5),
    "letters likely": MultipleChoice("likelihood"),
    "texts likely": MultipleChoice("likelihood", "text", "tokens"),
}
of_every_kind = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def check(runner: Runner, models: Sequence[torch.nn.Module], candidates: Any, objective: Objective) -> int:
    """Evaluate twice, and compare with what was seen from outside; returns the passes of the first time."""
    evaluator, counted = Evaluator(runner, objective), []
    with calls_of(models) as calls:
        for _ in range(2):
            before = len(calls)
            counted.append(evaluator.evaluate(candidates, EXAMPLES).forward_passes)
            assert counted[-1] == len(calls) - before
    assert evaluator.forward_passes == len(calls)
    assert counted[0]
    return counted[0]


@of_every_kind
@pytest.mark.parametrize(
    "settings", [EngineSettings(), EngineSettings(rows=4, particles=2), EngineSettings(shared_prefix=False)]
)
def test_adapters_count_every_pass_that_they_share(
    objective: Objective,
    settings: EngineSettings,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
) -> None:
    check(ResidentRunner(adapted, tiny_tokenizer, settings), [adapted.model], pool.vectors, objective)


def test_letters_take_one_pass_of_all_rows_that_fit(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool
) -> None:
    settings = EngineSettings(rows=12, shared_prefix=False, lots=1)
    runner = ResidentRunner(adapted, tiny_tokenizer, settings)
    # 4 particles with 9 examples each, 3 of each in a pass.
    assert check(runner, [adapted.model], pool.vectors, OBJECTIVES["letters likely"]) == 3


@of_every_kind
def test_mixtures_in_one_model_count_its_passes(
    objective: Objective, adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool
) -> None:
    runner = MixtureRunner(ResidentRunner(adapted, tiny_tokenizer), pool.vectors, "probabilities")
    weighed = [torch.full((4,), 0.25, dtype=torch.float64)]

    def by_prompt(experts: Any, prompts: Any, sequences: Any) -> torch.Tensor:
        return experts.mean_loglikelihoods(sequences).softmax(dim=1)

    check(runner, [adapted.model], weighed, objective)
    check(runner, [adapted.model], [by_prompt], objective)


@of_every_kind
def test_mixtures_of_several_models_count_the_passes_of_all(
    objective: Objective, tiny_base_folder: Path, tmp_path: Path
) -> None:
    runner = runner_of(save_families(tiny_base_folder, tmp_path / "families"))
    models = [model_of(group) for group in runner.shelf.groups]
    evaluator = Evaluator(runner, objective)
    with calls_of(models) as calls:
        found = evaluator.evaluate(torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]]), EXAMPLES)
    assert found.forward_passes == len(calls) > 0
    assert set(calls) == set(range(len(models)))


def test_what_a_journal_holds_brings_its_passes_along(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, tmp_path: Path
) -> None:
    found = []
    with calls_of([adapted.model]) as calls:
        for _ in range(2):
            journal = ScoreJournal(tmp_path)
            journal.begin("a", Ranks())
            runner = ResidentRunner(adapted, tiny_tokenizer)
            evaluation = Evaluator(runner, OBJECTIVES["generation"]).evaluate(pool.vectors, EXAMPLES, journal=journal)
            found.append((evaluation.forward_passes, len(calls)))
    assert found[0] == found[1]
    assert found[0][0] == found[0][1]
