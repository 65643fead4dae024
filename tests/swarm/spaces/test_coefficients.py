from functools import partial

import pytest
import torch

from swarm_lightning.swarm import ParticleSwarm
from swarm_lightning.swarm.space import Material, Space
from swarm_lightning.swarm.spaces.coefficients import CoefficientSpace, Combination
from swarm_lightning.swarm.spaces.dense import DenseSpace

EXPERTS = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))


def test_an_expert_alone_is_itself_bit_for_bit_whatever_piece_is_read() -> None:
    alone = Combination(list(EXPERTS), [0.0, 1.0, 0.0])
    assert len(alone) == 50
    assert alone[:].equal(EXPERTS[1])
    mixed = Combination(list(EXPERTS), [0.3, -1.7, 0.25])
    assert torch.cat([mixed[:7], mixed[7:31], mixed[31:]]).equal(mixed[:])
    expected = 0.3 * EXPERTS[0].double() - 1.7 * EXPERTS[1].double() + 0.25 * EXPERTS[2].double()
    torch.testing.assert_close(mixed[:].double(), expected, rtol=1e-7, atol=1e-7)
    assert mixed[:].dtype == torch.float32
    assert mixed[10:5].tolist() == []


def test_what_has_no_share_is_not_read() -> None:
    class Unreadable:
        def __len__(self) -> int:
            return 50

        def __getitem__(self, weights: slice) -> torch.Tensor:
            raise AssertionError("was read")

    assert Combination([EXPERTS[0], Unreadable()], [1.0, 0.0])[:].equal(EXPERTS[0])


def test_coefficients_are_of_differences_from_the_origin() -> None:
    place = torch.tensor([0.5, 0.25, 0.0])
    experts = torch.tensor([[2.0], [8.0], [5.0]])
    zeros = CoefficientSpace(Material(experts))
    assert zeros.vector(place)[:].tolist() == [3.0]  # 1 + 2
    base = CoefficientSpace(Material(experts, base=torch.tensor([4.0]), differences=False))
    assert base.vector(place)[:].tolist() == [4.0]  # 4 - 1 + 1
    assert base.vector(torch.zeros(3))[:].tolist() == [4.0]
    mean = CoefficientSpace(Material(experts, differences=False))
    assert mean.vector(place)[:].tolist() == pytest.approx([4.25])  # 5 - 1.5 + 0.75
    for space in (base, mean):
        rows = space.vectors(torch.eye(3))
        assert [row[:].tolist() for row in rows] == experts.tolist()
        assert not isinstance(rows, torch.Tensor)
    stacked = zeros.vectors(torch.eye(3))
    assert isinstance(stacked, torch.Tensor)
    assert stacked.equal(experts)
    assert [space.differences_from for space in (zeros, base, mean)] == [None, "model.base", "the experts' mean"]


def test_without_random_numbers_the_weights_go_where_a_swarm_of_weights_goes() -> None:
    start = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.5, -0.5, 0.0]])
    goal = 0.7 * EXPERTS[0] + 0.6 * EXPERTS[1]
    spaces: list[Space] = [CoefficientSpace(Material(EXPERTS)), DenseSpace()]

    def utility_of(swarm: ParticleSwarm) -> torch.Tensor:
        return -(torch.as_tensor(swarm.space.vectors(swarm.positions)) - goal).norm(dim=1).double()

    swarms = []
    for positions, space in zip((start.clone(), start @ EXPERTS), spaces, strict=True):
        swarm = ParticleSwarm([positions], randomness=False)
        swarm.enter(space)
        swarm.begin(utility_of(swarm), torch.Generator().manual_seed(2))
        for _ in range(6):
            swarm.step(partial(utility_of, swarm))
        swarms.append(swarm)
    apart, published = swarms
    torch.testing.assert_close(apart.space.vectors(apart.positions), published.positions, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        apart.space.vector(apart.swarm.global_best)[:], published.swarm.global_best, rtol=1e-4, atol=1e-4
    )


def test_with_random_numbers_coefficients_do_not_keep_their_sum() -> None:
    swarm = ParticleSwarm([torch.eye(3)])
    swarm.enter(CoefficientSpace(Material(EXPERTS)))
    swarm.begin(torch.tensor([0.1, 0.2, 0.3]), torch.Generator().manual_seed(2))
    swarm.step(lambda: torch.tensor([0.1, 0.2, 0.3]))
    assert (swarm.positions.sum(dim=1) - 1).abs().min() > 1e-3
