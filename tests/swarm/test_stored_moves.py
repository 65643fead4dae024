"""A swarm in rows on the disk is the swarm in memory, bit for bit, and a row is never changed once it is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm_lightning.errors import StorageError
from swarm_lightning.swarm import ParticleSwarm, stored_moves
from swarm_lightning.swarm.population import FirstVelocity, grow_population
from swarm_lightning.swarm.rows import ZERO, RowStore
from swarm_lightning.swarm.rules import BLOCK, diversity, stagnant
from swarm_lightning.swarm.space import Material
from swarm_lightning.swarm.spaces.rows_on_disk import RowSpace
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.swarm.stored_moves import grow_rows

PARTICLES, EXPERTS = 5, 3
DIMENSIONS = 2 * BLOCK + 77  # three windows of one block, the last one short
MATRICES = ("positions", "velocities", "personal_bests", "global_best", "global_worst")


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_moves, "NUMBERS", PARTICLES * BLOCK)


def experts() -> Tensor:
    return torch.randn(EXPERTS, DIMENSIONS, generator=torch.Generator().manual_seed(0))


def stored(folder: Path) -> tuple[RowStore, Tensor]:
    store = RowStore(folder, DIMENSIONS)
    numbers = store.create(EXPERTS)
    for number, expert in zip(numbers, experts(), strict=True):
        store.write(number, 0, expert)
    return store, grow_rows(store, numbers, PARTICLES, 2.0, torch.Generator().manual_seed(1))


def space_of(store: RowStore) -> RowSpace:
    return RowSpace(Material(sizes=[store.size], folder=store.folder))


def landscape_of(positions: Tensor) -> Tensor:
    return -positions.double().square().sum(dim=1).div(DIMENSIONS).round(decimals=2)


def stacked(store: RowStore, numbers: Tensor) -> Tensor:
    return torch.stack([row[:] for row in store.rows(numbers)])


def travel(swarm: ParticleSwarm, score: Any, iterations: int = 8) -> list[float]:
    spread = []
    for _ in range(iterations):
        swarm.restart(stagnant(swarm.swarm, 2), cool_down=True)
        swarm.step(score)
        spread.append(swarm.diversity())
    return spread


@pytest.mark.parametrize("repel", [0.05, 0.0])
@pytest.mark.parametrize("first_velocity", ["random", "best", "zero"])
def test_a_search_in_rows_is_bit_for_bit_the_search_in_memory(
    tmp_path: Path, first_velocity: FirstVelocity, repel: float
) -> None:
    positions = grow_population(experts(), PARTICLES, 2.0, torch.Generator().manual_seed(1))
    memory = ParticleSwarm([positions], first_velocity=first_velocity, repel=repel)
    memory.begin(landscape_of(positions), torch.Generator().manual_seed(2))
    expected = [diversity(positions), *travel(memory, lambda: landscape_of(positions))]

    store, numbers = stored(tmp_path)
    disk = ParticleSwarm([numbers], first_velocity=first_velocity, repel=repel)
    disk.enter(space_of(store))
    disk.begin(landscape_of(stacked(store, numbers)), torch.Generator().manual_seed(2))
    found = [disk.diversity(), *travel(disk, lambda: landscape_of(stacked(store, numbers)))]

    assert found == expected
    assert memory.swarm.restarts.sum() > 0
    assert memory.swarm.personal_best_utilities.gt(memory.swarm.initial_utilities).any()
    for name in ("utilities", "personal_best_utilities", "stagnation", "restarts", "best_particle"):
        assert getattr(disk.swarm, name).equal(getattr(memory.swarm, name))
    for name in MATRICES:
        weights = stacked(store, getattr(disk.swarm, name))
        np.testing.assert_array_equal(weights, np.atleast_2d(getattr(memory.swarm, name)))


def held(swarm: Swarm) -> list[int]:
    return [int(number) for name in MATRICES for number in getattr(swarm, name).flatten()]


def test_a_move_writes_new_rows_only_and_an_interrupted_one_leaves_the_swarm_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, numbers = stored(tmp_path)
    swarm = ParticleSwarm([numbers])
    swarm.enter(space_of(store))
    swarm.begin(landscape_of(stacked(store, numbers)), torch.Generator().manual_seed(2))
    store.keep(held(swarm.swarm))
    before, files = held(swarm.swarm), {path: path.read_bytes() for path in tmp_path.iterdir()}
    write, writes = RowStore.write, 0

    def full(store: RowStore, number: int, start: int, weights: Tensor) -> None:
        nonlocal writes
        writes += 1
        if writes > 7:  # and from then on, as on a disk that is full
            raise OSError(28, "No space left on device")
        write(store, number, start, weights)

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "write", full)
        with pytest.raises(OSError, match="No space left"):
            swarm.step(lambda: torch.zeros(PARTICLES))
    assert held(swarm.swarm) == before
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files

    swarm.step(lambda: landscape_of(stacked(store, numbers)))
    assert {path: path.read_bytes() for path in files} == files
    assert set(held(swarm.swarm)) != set(before)


def test_a_particle_that_stays_on_its_personal_best_keeps_its_row(tmp_path: Path) -> None:
    store, numbers = stored(tmp_path)
    swarm = ParticleSwarm([numbers], inertia=1.0, cognitive=0.0, social=0.0, repel=0.0, first_velocity="zero")
    swarm.enter(space_of(store))
    swarm.begin(landscape_of(stacked(store, numbers)), torch.Generator().manual_seed(2))
    before = swarm.swarm.positions.clone()
    swarm.step(lambda: torch.zeros(PARTICLES))
    assert swarm.swarm.positions.equal(before)


def test_a_row_reads_as_it_was_written_wherever_it_is_cut(tmp_path: Path) -> None:
    store = RowStore(tmp_path, 5000)
    weights = torch.arange(5000, dtype=torch.float32)
    (number,) = store.create(1)
    store.write(number, 0, weights[:1234].contiguous())
    store.write(number, 1234, weights[1234:].contiguous())
    store.sync()
    row = store.row(number)
    for start, stop in ((0, 5000), (1023, 1025), (1500, 1500), (4999, 5000)):
        assert row[start:stop].tolist() == weights[start:stop].tolist()
    row[:10].fill_(7)  # a copy: the file stays
    assert row[:10].tolist() == weights[:10].tolist()
    assert (tmp_path / f"{number:016x}.row").read_bytes() == weights.numpy().tobytes()
    assert not store.row(ZERO)[:].any()
    assert len(store.row(ZERO)) == len(row) == 5000


def test_rows_that_are_not_kept_are_removed_and_missed(tmp_path: Path) -> None:
    store = RowStore(tmp_path, 100)
    first, second, third = store.create(3)
    store.keep([first, third, ZERO])
    assert store.missing([first, second, third, ZERO]) == [second]
    store.path(third).write_bytes(b"cut short")
    assert store.missing([first, third]) == [third]


def test_where_the_disk_has_no_room_nothing_is_left(tmp_path: Path) -> None:
    store = RowStore(tmp_path, 1 << 55)
    with pytest.raises(StorageError, match="Expected to write"):
        store.create(2)
    assert list(tmp_path.iterdir()) == []
