"""Numbers that go wrong stay with the particle that they belong to, for one iteration."""

import math

import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm import ParticleSwarm
from swarm_lightning.swarm.broken import finite_rows
from swarm_lightning.swarm.state import Swarm

NAN, INF = math.nan, math.inf


def begun(utilities: list[float], **options: float | bool | str) -> ParticleSwarm:
    """Three particles in two dimensions, at rest, without random numbers."""
    positions = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 8.0]])
    swarm = ParticleSwarm([positions], randomness=False, first_velocity="zero", **options)  # type: ignore[arg-type]
    swarm.begin(torch.tensor(utilities), torch.Generator().manual_seed(0))
    return swarm


def all_finite(swarm: Swarm) -> bool:
    places = (swarm.positions, swarm.velocities, swarm.personal_bests, swarm.global_best, swarm.global_worst)
    return all(bool(tensor.isfinite().all()) for tensor in places)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_particle_with_broken_weights_is_not_evaluated_and_goes_on_from_its_personal_best(value: float) -> None:
    swarm = begun([0.5, 1.0, 0.25])
    swarm.swarm.velocities[0, 1] = value
    asked: list[list[bool]] = []

    def score() -> Tensor:
        asked.append(swarm.due.tolist())
        return torch.tensor([0.9, 0.5, 0.5])  # what stands at the broken particle is not read

    assert swarm.step(score).tolist() == [-INF, 0.5, 0.5]
    assert asked == [[False, True, True]]
    assert swarm.lost.tolist() == [True, False, False]
    state = swarm.swarm
    assert state.positions[0].tolist() == [0, 0]
    assert state.velocities[0].tolist() == [0, 0]
    assert state.personal_best_utilities.tolist() == [0.5, 1.0, 0.5]
    assert (float(state.global_best_utility), float(state.global_worst_utility)) == (1.0, 0.25)
    assert state.stagnation.tolist() == [2, 2, 1]
    assert all_finite(state)
    swarm.step(lambda: torch.tensor([2.0, 0.0, 0.0]))
    assert swarm.lost.tolist() == [False] * 3
    assert float(swarm.swarm.global_best_utility) == 2.0
    assert all_finite(swarm.swarm)


@pytest.mark.parametrize("value", [INF, -INF])
def test_an_infinite_utility_is_neither_a_best_nor_the_worst(value: float) -> None:
    swarm = begun([0.5, 1.0, 0.25])
    assert swarm.step(lambda: torch.tensor([value, 0.5, 0.5])).tolist() == [-INF, 0.5, 0.5]
    state = swarm.swarm
    assert (float(state.global_best_utility), float(state.global_worst_utility)) == (1.0, 0.25)
    assert state.positions[0].equal(state.personal_bests[0])
    assert not state.velocities[0].any()


def test_a_utility_left_open_is_not_broken() -> None:
    swarm = begun([0.5, 1.0, 0.25])
    assert swarm.step(lambda: torch.tensor([NAN, 0.5, 0.5])).isnan().tolist() == [True, False, False]
    assert not swarm.swarm.positions[0].equal(swarm.swarm.personal_bests[0])
    assert swarm.swarm.velocities[0].any()


def test_a_particle_that_never_had_a_utility_goes_on_towards_the_others() -> None:
    # Inertia 0.2, cognitive 0.3, social 0.4, no repel: v = 0.4 g / 0.9 for a particle at rest at its own start.
    swarm = begun([-INF, 1.0, 0.25], repel=0.0, lr=1.0)
    swarm.step(lambda: torch.tensor([-INF, 0.5, 0.5]))
    torch.testing.assert_close(swarm.swarm.positions[0], torch.tensor([16 / 9, 0.0]))
    swarm.swarm.velocities[0] = NAN
    swarm.step(lambda: torch.tensor([0.5, 0.5, 0.5]))
    assert swarm.swarm.positions[0].equal(swarm.swarm.global_best)
    assert all_finite(swarm.swarm)


def test_a_first_position_that_is_not_finite_becomes_the_best_one() -> None:
    positions = torch.tensor([[0.0, 0.0], [4.0, 0.0], [NAN, 8.0]])
    swarm = ParticleSwarm([positions])
    swarm.begin(torch.tensor([0.5, 1.0, 3.0]), torch.Generator().manual_seed(0))
    assert swarm.swarm.initial_utilities.tolist() == [0.5, 1.0, -INF]
    assert positions[2].tolist() == [4, 0]
    assert all_finite(swarm.swarm)
    assert float(swarm.swarm.global_best_utility) == 1.0


def test_no_particle_is_sent_towards_a_broken_one() -> None:
    positions = torch.tensor([[0.0], [1e30], [4.0]])
    swarm = ParticleSwarm([positions])
    swarm.begin(torch.tensor([0.5, -INF, 1.0]), torch.Generator().manual_seed(0))
    # Every other particle was drawn by some particle: 0 and 2 may be sent towards each other, and 1 towards both.
    assert swarm.swarm.velocities[0].item() in (0, 4)
    assert swarm.swarm.velocities[2].item() in (0, -4)
    assert not swarm.swarm.velocities.isnan().any()


def test_a_search_without_any_finite_utility_does_not_begin() -> None:
    with pytest.raises(ValueError, match="finite utility of at least one particle"):
        begun([NAN, INF, -INF])


def test_broken_particles_come_back_in_a_search_that_goes_on() -> None:
    """Every tenth of all weights is broken at random: bests stay finite, and the search still climbs."""
    positions = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    swarm = ParticleSwarm([positions])

    def score() -> Tensor:
        return -positions.double().square().sum(dim=1)

    swarm.begin(score(), torch.Generator().manual_seed(1))
    draw = torch.Generator().manual_seed(2)
    bests = []
    for _ in range(30):
        hit = torch.rand(6, 3, generator=draw) < 0.1
        swarm.swarm.velocities[hit] = torch.tensor([NAN, INF, -INF])[torch.randint(3, (), generator=draw)]
        swarm.step(score)
        assert swarm.lost.tolist() == hit.any(dim=1).tolist()
        assert all_finite(swarm.swarm)
        bests.append(float(swarm.swarm.global_best_utility))
    assert bests == sorted(bests)
    assert bests[-1] > -0.1


def test_rows_of_many_blocks_whose_sum_overflows_are_finite() -> None:
    positions = torch.full((2, 10), 3e38)
    positions[1, 9] = INF
    assert finite_rows(positions).tolist() == [True, False]
