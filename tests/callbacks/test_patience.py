"""When a search stops, counted by hand on utilities that are written down beforehand.

The rule with every patience is in `tests/swarm/test_ask_tell.py`.
"""

from pathlib import Path

import pytest

from swarm_lightning.callbacks import History, StopOnPlateau
from swarm_lightning.errors import InputError
from tests.search.scripted_search import scripted_search
from tests.search.tiny_search import World, read_rows

# The global best after 0 to 6 moves: 0.5 0.5 0.75 0.75 0.75 0.75 0.75.
RISES_ONCE = [(0.5, 0.0), (0.25, 0.5), (0.25, 0.75), (0.5, 0.75), (0.75, 0.5), (0.5, 0.5), (0.0, 0.0)]


@pytest.mark.parametrize(("patience", "iterations"), [(2, 3), (None, 6)])  # after 3 iterations: 0.75 0.75
def test_the_search_stops_in_the_iteration_counted_by_hand(
    world: World, tmp_path: Path, patience: int | None, iterations: int
) -> None:
    stop = StopOnPlateau(patience)
    module = scripted_search(world, tmp_path, RISES_ONCE, stop, History(score_tables=False))
    assert module.trainer.global_step == int(module.swarm.iterations) == iterations
    assert stop.stopped is (iterations < 6)
    best = [float(row["global_best"]) for row in read_rows(tmp_path / "history.csv")]
    assert best == [max(max(row) for row in RISES_ONCE[: count + 1]) for count in range(iterations + 1)]


@pytest.mark.parametrize("patience", [0, -1])
def test_a_patience_below_one_is_refused(patience: int) -> None:
    with pytest.raises(InputError, match=f"at least 1, or null for none, but got {patience}"):
        StopOnPlateau(patience)
