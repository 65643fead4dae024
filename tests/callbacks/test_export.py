"""What lies in the run folder when a search has ended."""

from pathlib import Path

import pytest

from swarm_lightning.callbacks import ExportBest, History
from swarm_lightning.errors import InputError
from tests.search.tiny_search import World, search


def test_the_best_expert_and_chosen_personal_bests_are_exported(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, callbacks=[ExportBest([3, 1])], iterations=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best_expert", "particle_1", "particle_3"]
    for name, utility in (
        ("best_expert", module.swarm.global_best_utility),
        ("particle_1", module.swarm.personal_best_utilities[1]),
        ("particle_3", module.swarm.personal_best_utilities[3]),
    ):
        scores = world.score(world.replies(world.load(tmp_path / name), "dev"), "dev")
        assert sum(scores) / len(scores) == float(utility)


@pytest.mark.parametrize("particle", [4, -1])
def test_a_particle_out_of_range_is_refused_before_the_search(world: World, tmp_path: Path, particle: int) -> None:
    with pytest.raises(InputError, match=f"from 0 to 3, but got {particle}"):
        search(world, tmp_path, callbacks=[ExportBest([particle]), History()])
    assert list(tmp_path.iterdir()) == []
