"""Rows on the disk as a space: what a checkpoint names is kept and found again, and what does not fit is refused.

That a search in rows is the search in memory bit for bit is tested in `tests/swarm/test_stored_moves.py`.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm import ParticleSwarm
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.space import Circumstances, Material
from swarm_lightning.swarm.spaces.rows_on_disk import RowSpace, rows_folder

EXPERTS = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))


def space_in(run: Path, state_folder: str | None = None) -> RowSpace:
    return RowSpace(Material(EXPERTS, sizes=[50], folder=rows_folder(run, state_folder), run=run))


def begun(space: RowSpace) -> ParticleSwarm:
    swarm = ParticleSwarm([space.first_positions(Start(), 4, 2.0, torch.Generator().manual_seed(1))])
    swarm.enter(space)
    swarm.begin(torch.arange(4.0), torch.Generator().manual_seed(2))
    return swarm


def weights(space: RowSpace, held: Tensor) -> Tensor:
    return torch.stack([row[:] for row in space.vectors(held)])


def test_first_positions_are_written_once_and_begin_with_the_experts(tmp_path: Path) -> None:
    space = space_in(tmp_path)
    assert space.writes
    assert space.empty(4).tolist() == [[0], [0], [0], [0]]
    assert not (tmp_path / "state").exists()
    positions = space.first_positions(Start(), 4, 2.0, torch.Generator().manual_seed(1))
    assert not space.writes
    assert weights(space, positions)[:3].equal(EXPERTS)
    with pytest.raises(ValueError, match="new folder for the rows of a new search"):
        space_in(tmp_path).first_positions(Start(), 4, 2.0, torch.Generator())


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_checkpoint_finds_its_rows_again_wherever_the_run_folder_is_moved_to(tmp_path: Path, elsewhere: bool) -> None:
    run = tmp_path / "runs" / "version_0"
    run.mkdir(parents=True)
    state_folder = str(tmp_path / "large") if elsewhere else None
    space = space_in(run, state_folder)
    swarm = begun(space)
    record, held = space.record(swarm.held), {name: value.clone() for name, value in swarm.held.items()}
    assert record["folder"] == (str(tmp_path / "large" / "runs_version_0") if elsewhere else None)
    before = weights(space, held["positions"])
    swarm.step(lambda: torch.zeros(4))
    space.tidy(swarm.held)  # what the checkpoint names stays

    moved = tmp_path / "moved"
    run.rename(moved)
    resumed = space_in(moved, state_folder)
    resumed.resume(record, held)
    assert not resumed.writes
    assert weights(resumed, held["positions"]).equal(before)


def test_rows_that_no_checkpoint_and_no_swarm_holds_go_and_are_missed(tmp_path: Path) -> None:
    space = space_in(tmp_path)
    swarm = begun(space)
    record, held = space.record(swarm.held), {name: value.clone() for name, value in swarm.held.items()}
    swarm.step(lambda: torch.zeros(4))
    space.record(swarm.held)
    space.tidy(swarm.held)
    with pytest.raises(ValueError, match=r"rows of the checkpoint in .* are missing or not whole"):
        space_in(tmp_path).resume(record, held)


def test_positions_are_looked_at_anew_when_they_have_changed(tmp_path: Path) -> None:
    space = space_in(tmp_path)
    positions = begun(space).positions
    spread = space.diversity(positions)
    same = positions[:1].expand(4, 1).clone()
    assert space.diversity(same) == 0
    assert space.diversity(positions) == spread > 0
    (number,) = space.store.create(1)
    space.store.write(number, 0, torch.full((50,), torch.nan))
    same[2] = number
    assert space.finite(same).tolist() == [True, True, False, True]
    assert space.sketch(positions).equal(space.sketch(positions.clone()))


@pytest.mark.parametrize(
    ("circumstances", "said"),
    [
        (Circumstances(ranks=2), "one rank with storage: disk, but there are 2"),
        (Circumstances(kernel="compiled"), "kernel to be auto or plain with storage: disk"),
        (Circumstances(start=Start("experts_and_base")), "model.start.kind to be experts with storage: disk"),
        (Circumstances(keeps_all=True), "checkpoint.keep_all to be off with storage: disk"),
    ],
)
def test_what_needs_the_swarm_in_memory_is_refused(circumstances: Circumstances, said: str) -> None:
    RowSpace.check(Circumstances())
    with pytest.raises(ValueError, match=said):
        RowSpace.check(circumstances)
