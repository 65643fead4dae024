import math

import pytest
import torch

from swarm_lightning.swarm.state import Swarm, first_state


def three_particles(utilities: list[float]) -> Swarm:
    positions = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    return first_state(positions, torch.full((3, 2), 7.0), torch.tensor(utilities))


def test_every_particle_opens_at_its_personal_best() -> None:
    swarm = three_particles([0.5, 0.75, 0.25])
    assert swarm.personal_bests.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert swarm.personal_best_utilities.tolist() == [0.5, 0.75, 0.25]
    assert swarm.utilities.tolist() == swarm.initial_utilities.tolist() == [0.5, 0.75, 0.25]
    assert swarm.velocities.tolist() == [[7, 7]] * 3


def test_the_highest_and_the_lowest_first_utility_are_the_global_best_and_worst() -> None:
    swarm = three_particles([0.5, 0.75, 0.25])
    assert swarm.global_best.tolist() == [3, 4]
    assert swarm.global_best_utility.item() == 0.75
    assert swarm.best_particle.item() == 1
    assert swarm.global_worst.tolist() == [5, 6]
    assert swarm.global_worst_utility.item() == 0.25


@pytest.mark.parametrize(
    ("utilities", "best", "worst"),
    [([0.5, 0.5, 0.5], 0, 0), ([0.25, 0.5, 0.5], 1, 0), ([0.5, 0.25, 0.25], 0, 1), ([0.25, 0.5, 0.25], 1, 0)],
)
def test_the_first_particle_in_order_wins_among_equals(utilities: list[float], best: int, worst: int) -> None:
    swarm = three_particles(utilities)
    assert swarm.best_particle.item() == best
    assert swarm.global_best.equal(swarm.positions[best])
    assert swarm.global_worst.equal(swarm.positions[worst])


def test_the_first_of_very_many_equals_wins() -> None:
    utilities = torch.zeros(3000)
    utilities[1000:2000] = 1
    utilities[2000:] = -1
    swarm = first_state(torch.arange(3000.0)[:, None], torch.zeros(3000, 1), utilities)
    assert swarm.global_best.tolist() == [1000]
    assert swarm.global_worst.tolist() == [2000]


def test_the_counters_hold_the_first_positions_as_one_iteration_of_waiting() -> None:
    # len(history) - history.index(best) = 1 - 0, and the history of the global best holds one value.
    swarm = three_particles([0.5, 0.75, 0.25])
    assert swarm.stagnation.tolist() == [1, 1, 1]
    assert swarm.plateau.item() == 1
    assert swarm.iterations.item() == 0
    assert swarm.restarts.tolist() == [0, 0, 0]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_first_utility_that_is_not_finite_is_neither_best_nor_worst(broken: float) -> None:
    swarm = three_particles([broken, 0.25, 0.5])
    assert swarm.best_particle.item() == 2
    assert swarm.global_best_utility.item() == 0.5
    assert swarm.global_worst.tolist() == [3, 4]
    assert swarm.global_worst_utility.item() == 0.25
    assert swarm.personal_best_utilities.tolist() == [-math.inf, 0.25, 0.5]


def test_no_finite_first_utility_is_refused_with_the_values() -> None:
    with pytest.raises(ValueError, match=r"finite utility.*nan.*inf.*-inf"):
        three_particles([math.nan, math.inf, -math.inf])


def test_positions_and_velocities_are_kept_and_everything_else_is_copied() -> None:
    positions, velocities = torch.rand(3, 2), torch.rand(3, 2)
    utilities = torch.tensor([0.5, 0.75, 0.25], dtype=torch.float64)
    swarm = first_state(positions, velocities, utilities)
    assert swarm.positions is positions
    assert swarm.velocities is velocities
    places = [tensor.data_ptr() for tensor in [*swarm.memory().values(), positions, utilities]]
    assert len(set(places)) == len(places)


def test_utilities_are_float64_and_counters_int64_and_weights_float32() -> None:
    swarm = three_particles([0.1, 0.2, 0.3])
    by_type: dict[torch.dtype, set[str]] = {}
    for name, tensor in swarm.memory().items():
        by_type.setdefault(tensor.dtype, set()).add(name)
    assert by_type == {
        torch.float32: {"velocities", "personal_bests", "global_best", "global_worst"},
        torch.float64: {
            "utilities",
            "initial_utilities",
            "personal_best_utilities",
            "global_best_utility",
            "global_worst_utility",
        },
        torch.int64: {"best_particle", "stagnation", "plateau", "iterations", "restarts"},
    }


def test_a_float64_utility_is_kept_to_the_last_digit() -> None:
    third = torch.tensor([1 / 3, 0.1, 0.2], dtype=torch.float64)
    assert first_state(torch.zeros(3, 1), torch.zeros(3, 1), third).utilities.tolist() == [1 / 3, 0.1, 0.2]


def test_the_memory_is_everything_but_the_positions() -> None:
    swarm = three_particles([0.5, 0.75, 0.25])
    assert set(swarm.memory()) == set(vars(swarm)) - {"positions"}
    assert swarm.memory()["velocities"] is swarm.velocities
