"""A particle as an adapter folder, as plain `peft` sees it."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from swarm_lightning.errors import InputError
from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.export import check_particle
from swarm_lightning.search.results import ResultRow
from tests.search.tiny_search import FULL, World, search


@pytest.fixture(scope="module")
def searched(world: World, tmp_path_factory: pytest.TempPathFactory) -> ModelSwarm:
    return search(world, tmp_path_factory.mktemp("searched"), iterations=3, engine=FULL)


@pytest.mark.smoke
def test_the_exported_best_expert_replies_as_the_search_heard_it(
    world: World, searched: ModelSwarm, tmp_path: Path
) -> None:
    folder = searched.export(tmp_path / "best")
    model = world.load(folder)
    for split, examples in (
        ("dev", searched.trainer.datamodule.splits.validation),  # type: ignore[attr-defined]
        ("test", searched.trainer.datamodule.splits.test),  # type: ignore[attr-defined]
    ):
        evaluation = searched.evaluator.evaluate(searched.swarm.global_best.unsqueeze(0), examples)
        replies = world.replies(model, split)
        assert [outcome.reply for outcome in evaluation.outcomes[0] if outcome] == replies
        assert evaluation.scores[0].tolist() == world.score(replies, split)
        assert len(set(replies)) > 3
    scores = world.score(world.replies(model, "dev"), "dev")
    assert float(searched.swarm.global_best_utility) == sum(scores) / len(scores)


def test_the_personal_best_of_any_particle_can_be_exported(world: World, searched: ModelSwarm, tmp_path: Path) -> None:
    for particle in (0, 3):
        folder = searched.export(tmp_path / str(particle), particle)
        exported = searched.pool.layout.unflatten(searched.swarm.personal_bests[particle])
        for name, tensor in load_file(folder / "adapter_model.safetensors").items():
            assert tensor.equal(exported[name])
        scores = world.score(world.replies(world.load(folder), "dev"), "dev")
        assert float(searched.swarm.personal_best_utilities[particle]) == sum(scores) / len(scores)


def test_the_card_says_what_the_search_knows(searched: ModelSwarm, tmp_path: Path) -> None:
    rows = (ResultRow("best initial expert", "towns", 0.125, 8), ResultRow("best found expert", "particle 1", 0.875, 8))
    card = (searched.export(tmp_path / "best", test=rows) / "README.md").read_text()
    for part in ("colours", "numbers", "stories", "towns", "0.1250", "0.8750", "3 iterations", "Seed: 0", "sums"):
        assert part in card
    assert f"{float(searched.swarm.global_best_utility):.4f}" in card
    assert "tensor(" not in card
    of_a_particle = (searched.export(tmp_path / "one", 1, test=rows) / "README.md").read_text()
    assert "0.8750" not in of_a_particle, "the test score is the best found expert's"


@pytest.mark.parametrize("particle", [-1, 4])
def test_a_particle_out_of_range_is_refused(searched: ModelSwarm, tmp_path: Path, particle: int) -> None:
    with pytest.raises(InputError, match="from 0 to 3"):
        check_particle(particle, 4)
    with pytest.raises(InputError, match="from 0 to 3"):
        searched.export(tmp_path / "none", particle)
    assert list(tmp_path.iterdir()) == []
