"""Whole models take turns in the resident one: each is taken up once, and its replies are those of the model alone."""

from pathlib import Path

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.checkpoint_pool import CheckpointPool, load_checkpoints
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.experts.resident.whole_model import WholeModel
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.vectors import Vectors
from tests.full_models import NAMES, FullWorld, make_base, save_copies
from tests.search.tiny_search import NEW_TOKENS, prompt_of, write_dataset


class Counted(WholeModel):
    """Counts what it takes up."""

    loads = 0

    def load(self, vectors: Vectors) -> None:
        self.loads += 1
        super().load(vectors)


@pytest.fixture(scope="module")
def world(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FullWorld:
    folder = tmp_path_factory.mktemp("whole")
    experts = save_copies(make_base(tiny_base_folder, "llama"), tiny_base_folder, folder / "experts")
    return FullWorld(experts / NAMES[0], experts, write_dataset(folder / "sums.json", validation=20))


@pytest.fixture
def pool(world: FullWorld) -> CheckpointPool:
    return load_checkpoints([str(world.experts / name) for name in NAMES])


def evaluator_of(pool: CheckpointPool, settings: EngineSettings) -> tuple[Evaluator, Counted]:
    base, tokenizer = load_base(pool.base)
    resident = Counted(base, pool.architecture, pool.vector(0))
    return Evaluator(ResidentRunner(resident, tokenizer, settings), ExactMatch(max_new_tokens=NEW_TOKENS)), resident


def examples_of(world: FullWorld) -> list[Example]:
    return [
        Example(identifier=str(place), question=record["question"], answer=record["answer"])
        for place, record in enumerate(world.split("dev"))
    ]


@pytest.mark.smoke
@pytest.mark.parametrize("settings", [EngineSettings(rows=3, chunk=1, lots=5)])
def test_every_particle_is_taken_up_once_and_scores_as_the_model_alone(
    world: FullWorld, pool: CheckpointPool, settings: EngineSettings
) -> None:
    evaluator, resident = evaluator_of(pool, settings)
    examples = examples_of(world)
    evaluation = evaluator.evaluate([pool.vector(index) for index in range(4)], examples)
    assert resident.loads == 4
    for name, scores in zip(NAMES, evaluation.scores.tolist(), strict=True):
        model = world.load(world.experts / name)
        model = model.float()
        replies = [world.reply(model, prompt_of(example.question)) for example in examples]
        assert scores == world.score(replies, "dev")


def test_rounds_of_the_exact_stop_do_not_take_a_particle_up_again(world: FullWorld, pool: CheckpointPool) -> None:
    evaluator, resident = evaluator_of(pool, EngineSettings(chunk=1, rows=2, lots=1))
    examples = examples_of(world)
    stakes = Stakes(
        personal_bests=torch.tensor([0.5, 0.5], dtype=torch.float64),
        floor=0.0,
        expected=torch.zeros(2, len(examples), dtype=torch.float64),
        known=torch.tensor([float("nan")] * 2, dtype=torch.float64),
    )
    evaluation = evaluator.evaluate([pool.vector(0), pool.vector(1)], examples, stakes=stakes)
    assert resident.loads == 2
    assert 2 < evaluation.evaluated < 2 * len(examples)


def test_the_base_is_measured_with_its_own_weights(world: FullWorld, pool: CheckpointPool) -> None:
    evaluator, _ = evaluator_of(pool, EngineSettings())
    examples = examples_of(world)
    before = evaluator.evaluate_base(examples).scores
    other = evaluator.evaluate([pool.vector(1)], examples).scores
    assert evaluator.evaluate_base(examples).scores.equal(before)
    assert evaluator.evaluate([pool.vector(0)], examples).scores.equal(before)
    assert not other.equal(before)


def test_more_particles_at_once_than_one_are_refused(pool: CheckpointPool) -> None:
    with pytest.raises(InputError, match="at most 1 for full checkpoints"):
        evaluator_of(pool, EngineSettings(particles=2))
