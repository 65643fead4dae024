"""When particles are restarted, counted by hand on utilities that are written down beforehand.

The rule with every patience is in `tests/swarm/test_ask_tell.py`.
"""

from pathlib import Path
from typing import Any

import lightning as L
import pytest

from swarm_lightning.callbacks import RestartStagnant
from swarm_lightning.errors import InputError
from swarm_lightning.search import ModelSwarm
from tests.search.scripted_search import scripted_search
from tests.search.tiny_search import World

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


# Iterations since and including the one of the personal best, before iterations 1 to 6: 1 2 3 1 2 3. With a cool-down
# the count begins anew at 0, and is 1 after the iteration: 1 2 1 1 2 1.
@pytest.mark.parametrize(
    ("patience", "cool_down", "restarts"),
    [(2, False, [0, 1, 2, 2, 3, 4]), (2, True, [0, 1, 1, 1, 2, 2]), (None, False, [0, 0, 0, 0, 0, 0])],
)
def test_a_particle_restarts_before_its_move_when_it_has_waited_for_a_new_personal_best_as_often_as_counted_by_hand(
    world: World, tmp_path: Path, patience: int | None, cool_down: bool, restarts: list[int]
) -> None:
    watch = Watch()
    module = scripted_search(world, tmp_path, SCRIPT, RestartStagnant(patience, cool_down), watch)
    assert watch.restarts == [[count, 0] for count in restarts], "a particle that improves is left alone"
    assert module.swarm.restarts.tolist() == [restarts[-1], 0]
    assert module.swarm.utilities.tolist() == [0.5, 0.75]
    assert module.swarm.personal_best_utilities.tolist() == [0.625, 0.75]
    assert module.result().restarts == restarts[-1]


@pytest.mark.parametrize("patience", [0, -1])
def test_a_patience_below_one_is_refused(patience: int) -> None:
    with pytest.raises(InputError, match=f"at least 1, or null for none, but got {patience}"):
        RestartStagnant(patience)
