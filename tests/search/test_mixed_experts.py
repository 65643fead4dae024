"""A search between experts of different ranks, scalings and targets begins with what plain `peft` makes of them."""

from pathlib import Path

import pytest

from swarm_lightning.search import ModelSwarm
from tests.conftest import MIXED
from tests.search.tiny_search import FULL, World, search


@pytest.fixture(scope="module")
def searched(world: World, mixed_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSwarm:
    root = tmp_path_factory.mktemp("searched")
    return search(world, root, experts=str(mixed_experts_folder), particles=7, iterations=2, engine=FULL)


def test_replies_before_the_first_move_are_those_of_plain_peft(
    world: World, mixed_experts_folder: Path, searched: ModelSwarm
) -> None:
    examples = searched.trainer.datamodule.splits.validation  # type: ignore[attr-defined]
    evaluation = searched.evaluator.evaluate(
        list(map(searched.pool.vector, range(len(MIXED)))), examples, whole_replies=True
    )
    replies = [world.replies(world.load(mixed_experts_folder / name), "dev") for name in MIXED]
    assert [[outcome.reply for outcome in row if outcome] for row in evaluation.outcomes] == replies
    utilities = [sum(scores) / len(scores) for scores in (world.score(each, "dev") for each in replies)]
    assert searched.swarm.initial_utilities[: len(MIXED)].tolist() == utilities
    assert len({tuple(each) for each in replies}) == len(MIXED)


def test_what_it_finds_replies_in_plain_peft_as_in_the_search(
    world: World, searched: ModelSwarm, tmp_path: Path
) -> None:
    folder = searched.export(tmp_path / "found", particle=6)  # the child of two of them
    scores = world.score(world.replies(world.load(folder), "dev"), "dev")
    assert float(searched.swarm.personal_best_utilities[6]) == sum(scores) / len(scores)
    assert "Ranks differ" in (folder / "README.md").read_text()
