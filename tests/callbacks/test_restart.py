"""When particles are restarted, counted by hand on utilities that are written down beforehand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from swarm_lightning.callbacks import RestartStagnant
from swarm_lightning.errors import InputError
from swarm_lightning.search import ModelSwarm
from tests.search.tiny_search import FULL, Scripted, World, search, write_dataset

# Particle 0 improves in iteration 3 only, particle 1 in every iteration. Scores of 4 examples add up exactly.
SCRIPT = [(0.5, 0.0), (0.25, 0.125), (0.25, 0.25), (0.625, 0.375), (0.5, 0.5), (0.5, 0.625), (0.5, 0.75)]


class Watch(L.Callback):
    """Notes the restarts before every move, and that a restarted particle is at rest on its personal best."""

    def __init__(self) -> None:
        self.restarts: list[list[int]] = []
        self.stagnation: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, ModelSwarm)
        swarm = pl_module.swarm
        before = self.restarts[-1] if self.restarts else [0, 0]
        self.restarts.append(swarm.restarts.tolist())
        self.stagnation.append(int(swarm.stagnation[0]))
        for particle in range(2):
            if self.restarts[-1][particle] > before[particle]:
                assert swarm.positions[particle].equal(swarm.personal_bests[particle])
                assert not swarm.velocities[particle].any()


def run(
    world: World, folder: Path, patience: int | None, cool_down: bool, script: Sequence[Sequence[float]] = SCRIPT
) -> tuple[list[int], ModelSwarm]:
    watch = Watch()
    module = search(
        world,
        folder,
        callbacks=[RestartStagnant(patience, cool_down), watch],
        objective=Scripted(script, examples=4),
        engine=FULL,
        experts=[str(world.experts / "colours"), str(world.experts / "towns")],
        particles=2,
        iterations=len(script) - 1,
        dataset=write_dataset(folder / "four.json", validation=4, test=1),
    )
    assert [row[1] for row in watch.restarts] == [0] * (len(script) - 1), "a particle that improves is left alone"
    return [row[0] for row in watch.restarts], module


# Iterations since and including the one of the personal best, before iterations 1 to 6: 1 2 3 1 2 3.
@pytest.mark.parametrize(
    ("patience", "cool_down", "restarts"),
    [
        (2, False, [0, 1, 2, 2, 3, 4]),
        (3, False, [0, 0, 1, 1, 1, 2]),
        (4, False, [0, 0, 0, 0, 0, 0]),
        (None, False, [0, 0, 0, 0, 0, 0]),
        # With a cool-down the count begins anew at 0, and is 1 after the iteration: before 1 to 6 it is 1 2 1 1 2 1.
        (2, True, [0, 1, 1, 1, 2, 2]),
    ],
)
def test_a_particle_restarts_when_it_has_waited_for_a_new_personal_best_as_often_as_counted_by_hand(
    world: World, tmp_path: Path, patience: int | None, cool_down: bool, restarts: list[int]
) -> None:
    found, module = run(world, tmp_path, patience, cool_down)
    assert found == restarts
    assert module.swarm.restarts.tolist() == [restarts[-1], 0]
    assert module.swarm.utilities.tolist() == [0.5, 0.75]
    assert module.swarm.personal_best_utilities.tolist() == [0.625, 0.75]
    assert module.result().restarts == restarts[-1]


@pytest.mark.parametrize("patience", [0, -1])
def test_a_patience_below_one_is_refused(patience: int) -> None:
    with pytest.raises(InputError, match=f"at least 1, or null for none, but got {patience}"):
        RestartStagnant(patience)
