"""Mixing numbers as positions: one-hot starts, children of two, and moves that keep their sum."""

import pytest
import torch

from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.space import Circumstances, Material
from swarm_lightning.swarm.spaces.mixture import DrawnMixtureSpace, MixtureSpace


def space_of(count: int, kind: type[MixtureSpace] = MixtureSpace) -> MixtureSpace:
    return kind(Material(torch.eye(count), sizes=[count]))


def test_experts_come_first_and_children_lie_on_the_line_through_two() -> None:
    first = space_of(3).first_positions(Start(), 7, 2.0, torch.Generator().manual_seed(1))
    assert first[:3].equal(torch.eye(3))
    for child in first[3:]:
        assert int((child != 0).sum()) == 2
        assert float(child.sum()) == pytest.approx(1.0)


def test_moves_keep_the_sum_of_the_numbers() -> None:
    generator = torch.Generator().manual_seed(2)
    space = space_of(4)
    positions = torch.nn.Parameter(space.first_positions(Start(), 6, 2.0, generator), requires_grad=False)
    swarm = ParticleSwarm([positions])
    swarm.enter(space)
    aim = torch.tensor([0.6, 0.6, -0.2, 0.0])

    def worth() -> torch.Tensor:
        return -(positions - aim).square().sum(dim=1).double()

    swarm.begin(worth(), generator)
    before = swarm.found_utility
    for _ in range(10):
        swarm.step(worth)
    assert swarm.found_utility > before
    torch.testing.assert_close(positions.sum(dim=1), torch.ones(6))
    assert space.coefficients(positions[0]).squeeze(1).equal(positions[0])


def test_numbers_may_have_random_numbers_of_their_own() -> None:
    assert space_of(3, DrawnMixtureSpace).groups == [1, 1, 1]


def test_what_has_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="model.start.kind to be experts with model.mixture"):
        MixtureSpace.check(Circumstances(start=Start("experts_and_base")))
    with pytest.raises(ValueError, match="kernel to be auto or plain"):
        DrawnMixtureSpace.check(Circumstances(kernel="compiled"))
