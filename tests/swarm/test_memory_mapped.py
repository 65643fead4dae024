"""A search whose matrices live in memory-mapped files is the search in memory, and what it reaches is in the files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm import ParticleSwarm
from swarm_lightning.swarm.population import grow_population
from swarm_lightning.swarm.rules import diversity, stagnant
from swarm_lightning.swarm.state import Swarm

PARTICLES, DIMENSIONS = 5, 700


def mapped(path: Path) -> Tensor:
    count = PARTICLES * DIMENSIONS
    return torch.from_file(str(path), shared=True, size=count, dtype=torch.float32).view(PARTICLES, DIMENSIONS)


def landscape_of(positions: Tensor) -> Tensor:
    return -positions.double().square().sum(dim=1).div(DIMENSIONS).round(decimals=2)


def travel(positions: Tensor, swarm: ParticleSwarm) -> float:
    for _ in range(8):
        swarm.restart(stagnant(swarm.swarm, 2), cool_down=True)
        swarm.step(lambda: landscape_of(positions))
    return diversity(positions)


@pytest.mark.parametrize("first_velocity", ["random", "best"])
def test_a_search_in_files_is_the_search_in_memory_and_ends_in_the_files(first_velocity: str, tmp_path: Path) -> None:
    experts = torch.randn(3, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    ends: list[float] = []
    swarms: list[Swarm] = []
    for place in (mapped(tmp_path / "positions"), torch.empty(PARTICLES, DIMENSIONS)):
        positions = grow_population(experts, PARTICLES, 2.0, torch.Generator().manual_seed(1), out=place)
        swarm = ParticleSwarm([positions], first_velocity=first_velocity)  # type: ignore[arg-type]
        swarm.begin(landscape_of(positions), torch.Generator().manual_seed(2))
        if not ends:  # what `begin` makes in memory can be moved to files too
            memory = swarm.state[positions]
            for name in ("velocities", "personal_bests"):
                memory[name] = mapped(tmp_path / name).copy_(memory[name])
        ends.append(travel(positions, swarm))
        swarms.append(swarm.swarm)
    in_files, in_memory = swarms
    assert in_memory.restarts.sum() > 0
    assert in_memory.personal_best_utilities.gt(in_memory.initial_utilities).any()
    assert ends[0] == ends[1]
    for name in ("positions", "velocities", "personal_bests"):
        kept = np.fromfile(tmp_path / name, dtype=np.float32).reshape(PARTICLES, DIMENSIONS)
        np.testing.assert_array_equal(kept, getattr(in_memory, name).numpy())
    assert in_files.global_best.equal(in_memory.global_best)
