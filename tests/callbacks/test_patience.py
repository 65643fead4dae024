"""When a search stops, counted by hand on utilities that are written down beforehand."""

from pathlib import Path

import pytest

from swarm_lightning.callbacks import History, StopOnPlateau
from swarm_lightning.errors import InputError
from tests.search.tiny_search import FULL, Scripted, World, read_rows, search, write_dataset

# The global best after 0 to 6 moves: 0.5 0.5 0.75 0.75 0.75 0.75 0.75.
RISES_ONCE = [(0.5, 0.0), (0.25, 0.5), (0.25, 0.75), (0.5, 0.75), (0.75, 0.5), (0.5, 0.5), (0.0, 0.0)]
NEVER_RISES = [(0.5, 0.5)] * 7


# It stops before an iteration if more than `patience` values exist and the last `patience` of them are equal.
@pytest.mark.parametrize(
    ("script", "patience", "iterations"),
    [
        (RISES_ONCE, 1, 1),  # after one iteration two values exist, and the last one equals itself
        (RISES_ONCE, 2, 3),  # not after 1 (two values only), not after 2 (0.5 0.75), but after 3 (0.75 0.75)
        (RISES_ONCE, 3, 4),
        (RISES_ONCE, 5, 6),
        (RISES_ONCE, 6, 6),  # the whole of the script: five equal values are not six
        (RISES_ONCE, None, 6),
        (NEVER_RISES, 3, 3),  # after 2 iterations three values are equal, but no more than three exist
        (NEVER_RISES, None, 6),
    ],
)
def test_the_search_stops_in_the_iteration_counted_by_hand(
    world: World, tmp_path: Path, script: list[tuple[float, float]], patience: int | None, iterations: int
) -> None:
    module = search(
        world,
        tmp_path,
        callbacks=[StopOnPlateau(patience), History(score_tables=False)],
        objective=Scripted(script, examples=2),
        engine=FULL,
        experts=[str(world.experts / "colours"), str(world.experts / "towns")],
        particles=2,
        iterations=6,
        dataset=write_dataset(tmp_path / "two.json", validation=2, test=1),
    )
    assert module.trainer.global_step == int(module.swarm.iterations) == iterations
    best = [float(row["global_best"]) for row in read_rows(tmp_path / "history.csv")]
    assert best == [max(max(row) for row in script[: count + 1]) for count in range(iterations + 1)]


@pytest.mark.parametrize("patience", [0, -1])
def test_a_patience_below_one_is_refused(patience: int) -> None:
    with pytest.raises(InputError, match=f"at least 1, or null for none, but got {patience}"):
        StopOnPlateau(patience)
