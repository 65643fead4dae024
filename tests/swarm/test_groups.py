"""The move where groups of weights have random numbers of their own."""

import pytest
import torch

from swarm_lightning.swarm import ParticleSwarm
from swarm_lightning.swarm.rules import BLOCK, Coefficients, move
from swarm_lightning.swarm.space import Material
from swarm_lightning.swarm.spaces.dense import TensorSpace
from swarm_lightning.swarm.state import Swarm, first_state


def three_particles() -> Swarm:
    """Particles in two dimensions, not at rest, whose bests and worst all differ."""
    swarm = first_state(
        torch.tensor([[1.0, 4.0], [2.0, 0.0], [3.0, 8.0]]),
        torch.tensor([[0.5, -1.0], [0.0, 2.0], [1.0, 1.0]]),
        torch.tensor([0.5, 0.75, 0.25], dtype=torch.float64),
    )
    swarm.personal_bests[2] = torch.tensor([5.0, 5.0])
    return swarm


def test_every_group_of_weights_moves_by_its_own_random_numbers() -> None:
    swarm = three_particles()
    draws = torch.zeros(3, 2, 4, dtype=torch.float64)
    draws[0, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])  # inertia only: on by half of 0.5
    draws[0, 1] = torch.tensor([0.0, 0.0, 1.0, 0.0])  # social only: from 4 half the way to 0
    draws[1, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0])  # repel only: from 2 half of 2 - 3
    draws[1, 1] = torch.tensor([1.0, 0.0, 0.0, 1.0])  # inertia 0.2 and repel 0.1 of 0.3: 2 * 2 / 3 + (0 - 8) / 3
    draws[2, 0] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # cognitive only: from 3 half the way to 5
    draws[2, 1] = torch.tensor(
        [1.0, 1.0, 0.5, 0.0]
    )  # shares 0.2, 0.4 and 0.3 of 0.9: (0.2 * 1 - 0.4 * 3 - 0.3 * 8) / 0.9
    move(swarm, draws, Coefficients(0.2, 0.4, 0.6, 0.1), 0.5, [1, 1])
    torch.testing.assert_close(
        swarm.velocities, torch.tensor([[0.5, -4.0], [-1.0, (4 - 8) / 3], [2.0, (0.2 - 1.2 - 2.4) / 0.9]])
    )
    torch.testing.assert_close(
        swarm.positions, torch.tensor([[1.25, 2.0], [1.5, -2 / 3], [4.0, 8 + (0.2 - 1.2 - 2.4) / 1.8]])
    )


def test_groups_with_equal_draws_make_the_published_move() -> None:
    draws = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    apart, published = three_particles(), three_particles()
    coefficients = Coefficients(0.2, 0.3, 0.4, 0.05)
    move(apart, draws[:, None].repeat(1, 2, 1), coefficients, 0.75, [1, 1])
    move(published, draws, coefficients, 0.75)
    assert apart.positions.equal(published.positions)
    assert apart.velocities.equal(published.velocities)


@pytest.mark.parametrize("threads", [1, 3])
def test_groups_larger_than_a_block_are_moved_whole(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [7, 2 * BLOCK + 5, 11]
    generator = torch.Generator().manual_seed(1)
    positions = torch.randn(3, sum(sizes), generator=generator)
    swarm = first_state(positions.clone(), torch.randn(positions.shape, generator=generator), torch.rand(3))
    parts = [part.clone() for part in swarm.positions.split(sizes, dim=1)]
    draws = torch.rand(3, 3, 4, dtype=torch.float64, generator=generator)
    coefficients = Coefficients(0.2, 0.3, 0.4, 0.05)
    alone = []
    for group, (part, velocity) in enumerate(zip(parts, swarm.velocities.split(sizes, dim=1), strict=True)):
        one = first_state(part, velocity.clone(), swarm.utilities)
        move(one, draws[:, group], coefficients, 0.75)
        alone.append(one.positions)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    move(swarm, draws, coefficients, 0.75, sizes)
    assert swarm.positions.equal(torch.cat(alone, dim=1))


def test_groups_are_refused_by_the_fused_kernel_before_anything_begins() -> None:
    swarm = ParticleSwarm([torch.eye(3)], kernel="compiled")
    swarm.enter(TensorSpace(Material(sizes=[1, 2])))
    with pytest.raises(ValueError, match="kernel to be auto or plain with groups of weights, but got 'compiled'"):
        swarm.begin(torch.zeros(3), torch.Generator())
    assert not swarm.begun
