import math
from collections.abc import Sequence

import pytest
import torch

from swarm_lightning.swarm import rules
from swarm_lightning.swarm.rules import Coefficients, diversity, due, exhausted, move, remember, restart, stagnant
from swarm_lightning.swarm.state import Swarm, first_state

ALL = torch.tensor([True, True, True])
NONE = torch.tensor([False, False, False])


def begin(positions: Sequence[Sequence[float]], utilities: Sequence[float]) -> Swarm:
    places = torch.tensor(positions)
    return first_state(places, torch.zeros_like(places), torch.tensor(utilities, dtype=torch.float64))


def three_particles() -> Swarm:
    """Particles at 1, 2 and 3 with utilities 0.5, 0.75 and 0.25: g = 2 and w = 3."""
    return begin([[1.0], [2.0], [3.0]], [0.5, 0.75, 0.25])


def score(swarm: Swarm, positions: Sequence[float], utilities: Sequence[float], evaluated: torch.Tensor = ALL) -> None:
    """Put the particles somewhere and remember what they are worth there."""
    swarm.positions.copy_(torch.tensor(positions)[:, None])
    remember(swarm, torch.tensor(utilities, dtype=torch.float64), evaluated)


def test_shares_are_the_drawn_coefficients_over_their_sum() -> None:
    # 0.2 * 1, 0.4 * 0.5, 0.6 * 0 and 0.1 * 1 are 0.2, 0.2, 0 and 0.1, of 0.5 together.
    shares = Coefficients(0.2, 0.4, 0.6, 0.1).weigh(torch.tensor([[1, 0.5, 0, 1], [1, 1, 1, 1]]))
    assert shares.dtype == torch.float64
    assert shares[0].tolist() == pytest.approx([0.4, 0.4, 0, 0.2])
    assert shares[1].tolist() == pytest.approx([0.2 / 1.3, 0.4 / 1.3, 0.6 / 1.3, 0.1 / 1.3])


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_coefficient_that_is_negative_or_not_finite_is_refused_by_value(position: int, value: float) -> None:
    values = [0.2, 0.3, 0.4, 0.05]
    values[position] = value
    with pytest.raises(ValueError, match=f"finite and >= 0, but got .*{value}"):
        Coefficients(*values)


def test_four_coefficients_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="no particle would move"):
        Coefficients(0, 0, 0, 0)


def test_drawn_weights_that_sum_to_zero_are_refused_before_anything_moves() -> None:
    swarm = three_particles()
    draws = torch.ones(3, 4)
    draws[1] = torch.tensor([1, 0, 0, 1])  # the coefficients of what was drawn are zero
    with pytest.raises(ValueError, match="sum above zero"):
        move(swarm, draws, Coefficients(0, 0.5, 0.5, 0), 1.0)
    assert swarm.positions.tolist() == [[1], [2], [3]]


def test_a_particle_stagnates_from_the_iteration_that_reached_its_personal_best() -> None:
    # Histories 0.5 0.5, 0.75 0.75 and 0.25 0.5: len - index of the best is 2, 2 and 1; then 3, 1 and 2.
    swarm = three_particles()
    score(swarm, [1, 2, 3], [0.5, 0.75, 0.5])
    assert swarm.stagnation.tolist() == [2, 2, 1]
    assert stagnant(swarm, 2).tolist() == [True, True, False]
    score(swarm, [1, 2, 3], [0.5, 1.0, 0.25])
    assert swarm.stagnation.tolist() == [3, 1, 2]
    assert stagnant(swarm, 1).tolist() == [True, True, True]
    assert stagnant(swarm, 2).tolist() == [True, False, True]
    assert stagnant(swarm, 3).tolist() == [True, False, False]


def test_a_restart_puts_a_particle_on_its_personal_best_at_rest() -> None:
    swarm = three_particles()
    swarm.positions.copy_(torch.tensor([[7.0], [8.0], [9.0]]))
    swarm.velocities.fill_(5)
    restart(swarm, torch.tensor([True, False, True]))
    assert swarm.positions.tolist() == [[1], [8], [3]]
    assert swarm.velocities.tolist() == [[0], [5], [0]]
    assert swarm.restarts.tolist() == [1, 0, 1]


def test_a_restarted_particle_can_move_on_without_moving_its_personal_best() -> None:
    swarm = three_particles()
    restart(swarm, ALL)
    swarm.positions.add_(1)
    assert swarm.personal_bests.tolist() == [[1], [2], [3]]


def test_a_restart_without_cool_down_keeps_the_particle_stagnant() -> None:
    swarm = three_particles()
    for waited in range(2, 7):
        restart(swarm, stagnant(swarm, 3))
        score(swarm, [1, 2, 3], [0, 0, 0])
        assert swarm.stagnation.tolist() == [waited] * 3
    # Stagnant from the third iteration on: the third, the fourth and the fifth begin with a restart.
    assert swarm.restarts.tolist() == [3, 3, 3]


def test_a_cool_down_spaces_restarts_by_the_restart_patience() -> None:
    swarm = three_particles()
    restarted = []
    for iteration in range(10):
        chosen = stagnant(swarm, 3)
        restart(swarm, chosen, cool_down=True)
        if chosen.all():
            restarted.append(iteration)
        score(swarm, [1, 2, 3], [0, 0, 0])
    # One value of the history stands before iteration 0, so three do before iteration 2; then every third.
    assert restarted == [2, 5, 8]


def test_a_cool_down_leaves_particles_alone_that_were_not_restarted() -> None:
    swarm = three_particles()
    swarm.stagnation.copy_(torch.tensor([4, 3, 6]))
    restart(swarm, torch.tensor([True, False, True]), cool_down=True)
    assert swarm.stagnation.tolist() == [0, 3, 0]


def test_restarting_nobody_changes_nothing() -> None:
    swarm = three_particles()
    swarm.positions.add_(1)
    restart(swarm, NONE, cool_down=True)
    assert swarm.positions.tolist() == [[2], [3], [4]]
    assert swarm.restarts.tolist() == [0, 0, 0]
    assert swarm.stagnation.tolist() == [1, 1, 1]


def lone_particle() -> Swarm:
    """Put a particle at x = 1 with v = 2, p = 3, g = 5 and w = -1."""
    swarm = begin([[1.0]], [0.0])
    swarm.velocities.fill_(2)
    swarm.personal_bests.fill_(3)
    swarm.global_best.fill_(5)
    swarm.global_worst.fill_(-1)
    return swarm


@pytest.mark.parametrize(
    ("draws", "velocity"),
    [
        # All four: C = 1, v = 0.2 * 2 + 0.3 * (3 - 1) + 0.4 * (5 - 1) + 0.1 * (1 + 1) = 0.4 + 0.6 + 1.6 + 0.2.
        ((1, 1, 1, 1), 2.8),
        # Weights 0.2, 0.15, 0.1 and 0: C = 0.45, v = (0.4 + 0.3 + 0.4) / 0.45.
        ((1, 0.5, 0.25, 0), 1.1 / 0.45),
        # One term alone has the whole weight, whatever its draw.
        ((0.3, 0, 0, 0), 2),
        ((0, 0.7, 0, 0), 2),
        ((0, 0, 0.01, 0), 4),
        ((0, 0, 0, 0.9), 2),
    ],
)
def test_the_velocity_is_the_weighted_mean_of_the_four_pulls(draws: tuple[float, ...], velocity: float) -> None:
    swarm = lone_particle()
    move(swarm, torch.tensor([draws]), Coefficients(0.2, 0.3, 0.4, 0.1), 0.5)
    assert swarm.velocities.item() == pytest.approx(velocity, rel=1e-6)
    assert swarm.positions.item() == pytest.approx(1 + 0.5 * velocity, rel=1e-6)


def test_the_step_length_scales_the_travel_and_not_the_velocity() -> None:
    swarm = lone_particle()
    move(swarm, torch.ones(1, 4), Coefficients(0.2, 0.3, 0.4, 0.1), 0.1)
    assert swarm.velocities.item() == pytest.approx(2.8)
    assert swarm.positions.item() == pytest.approx(1.28)


def test_a_repel_of_zero_leaves_the_worst_out_of_the_weights_too() -> None:
    # C = 0.9 without repel: v = (0.4 + 0.6 + 1.6) / 0.9.
    swarm = lone_particle()
    move(swarm, torch.ones(1, 4), Coefficients(0.2, 0.3, 0.4, 0.0), 1.0)
    assert swarm.velocities.item() == pytest.approx(2.6 / 0.9, rel=1e-6)


def test_a_repel_of_zero_does_not_read_the_worst() -> None:
    swarm = lone_particle()
    swarm.global_worst.fill_(math.nan)
    move(swarm, torch.ones(1, 4), Coefficients(0.2, 0.3, 0.4, 0.0), 1.0)
    assert swarm.positions.isfinite().all()


def test_every_particle_has_its_own_draws() -> None:
    # At rest, with x = p everywhere, g = 2 and w = 3. Social alone: v = g - x; repel alone: v = x - w.
    swarm = three_particles()
    draws = torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]])
    move(swarm, draws, Coefficients(0.2, 0.3, 0.4, 0.1), 1.0)
    assert swarm.velocities.tolist() == [[1], [-1], [0]]
    assert swarm.positions.tolist() == [[2], [1], [3]]


@pytest.mark.filterwarnings("error")  # torch resizes a buffer of the wrong length, and only warns of it
@pytest.mark.parametrize("block", [1, 3, 7, 8, 1000])
def test_a_move_does_not_depend_on_the_size_of_its_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    # A move is linear: with everything of dimension d stretched by d + 1 and shifted by 10 d, so is the lone particle's
    # result above, v = 2.8 and x = 2.4. The second particle sits on p = g = w at rest and stays.
    monkeypatch.setattr(rules, "BLOCK", block)
    stretch, shift = torch.arange(1.0, 8), 10 * torch.arange(7.0)
    swarm = first_state(torch.zeros(2, 7), torch.zeros(2, 7), torch.zeros(2))
    swarm.positions.copy_(torch.stack([stretch + shift, 5 * stretch + shift]))
    swarm.velocities[0] = 2 * stretch
    swarm.personal_bests.copy_(torch.stack([3 * stretch + shift, 5 * stretch + shift]))
    swarm.global_best.copy_(5 * stretch + shift)
    swarm.global_worst.copy_(-stretch + shift)
    draws = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0]])
    move(swarm, draws, Coefficients(0.2, 0.3, 0.4, 0.1), 0.5)
    torch.testing.assert_close(swarm.velocities[0], 2.8 * stretch)
    torch.testing.assert_close(swarm.positions[0], 2.4 * stretch + shift)
    assert swarm.velocities[1].equal(torch.zeros(7))
    assert swarm.positions[1].equal(5 * stretch + shift)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_move_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    # A move treats all weights alike, so what it does to a matrix is what it does to each column alone.
    def swarm_of(columns: slice) -> Swarm:
        numbers = torch.randn(5, 3, 23, generator=torch.Generator().manual_seed(0))[:, :, columns]
        swarm = first_state(numbers[0].clone(), numbers[1].clone(), torch.tensor([0.5, 0.75, 0.25]))
        swarm.personal_bests.copy_(numbers[2])
        swarm.global_best.copy_(numbers[3, 0])
        swarm.global_worst.copy_(numbers[4, 0])
        return swarm

    monkeypatch.setattr(rules, "BLOCK", 4)
    before = torch.get_num_threads()
    whole, draws = swarm_of(slice(None)), torch.rand(3, 4, generator=torch.Generator().manual_seed(1))
    try:
        torch.set_num_threads(threads)
        move(whole, draws, Coefficients(0.2, 0.3, 0.4, 0.1), 0.5)
    finally:
        torch.set_num_threads(before)
    for column in range(23):
        alone = swarm_of(slice(column, column + 1))
        move(alone, draws, Coefficients(0.2, 0.3, 0.4, 0.1), 0.5)
        torch.testing.assert_close(whole.positions[:, column], alone.positions[:, 0])
        torch.testing.assert_close(whole.velocities[:, column], alone.velocities[:, 0])


def test_a_move_touches_positions_and_velocities_only() -> None:
    swarm = three_particles()
    before = {name: tensor.clone() for name, tensor in swarm.memory().items() if name != "velocities"}
    places = swarm.positions.data_ptr(), swarm.velocities.data_ptr()
    move(swarm, torch.rand(3, 4), Coefficients(0.2, 0.3, 0.4, 0.1), 0.5)
    assert all(swarm.memory()[name].equal(tensor) for name, tensor in before.items())
    assert (swarm.positions.data_ptr(), swarm.velocities.data_ptr()) == places


def test_without_dropping_every_particle_is_due_in_every_iteration() -> None:
    generator = torch.Generator().manual_seed(0)
    assert all(due(5, 0.0, 0.0, generator).all() for _ in range(200))


def test_an_iteration_is_dropped_as_a_whole_and_as_often_as_asked() -> None:
    # 2000 draws at 0.3: 600 +- 20.5; four standard deviations are allowed.
    generator = torch.Generator().manual_seed(0)
    counts = [int(due(5, 0.3, 0.0, generator).sum()) for _ in range(2000)]
    assert set(counts) == {0, 5}
    assert abs(counts.count(0) - 600) < 82


def test_particles_are_dropped_one_by_one_and_as_often_as_asked() -> None:
    # 2000 draws at 0.2 for every particle: 400 +- 17.9 each. All four at once: 0.2^4 * 2000 = 3.2 times.
    generator = torch.Generator().manual_seed(1)
    masks = torch.stack([due(4, 0.0, 0.2, generator) for _ in range(2000)])
    assert all(abs(int(dropped) - 400) < 72 for dropped in (~masks).sum(dim=0))
    assert int((~masks).all(dim=1).sum()) < 12


def test_the_two_ways_of_dropping_are_independent() -> None:
    # Evaluated with probability 0.7 * 0.8 = 0.56: 1120 +- 22 of 2000 for every particle.
    generator = torch.Generator().manual_seed(2)
    masks = torch.stack([due(4, 0.3, 0.2, generator) for _ in range(2000)])
    assert all(abs(int(evaluated) - 1120) < 89 for evaluated in masks.sum(dim=0))


def test_as_many_numbers_are_drawn_whatever_the_probabilities_are() -> None:
    states = []
    for probabilities in [(0.0, 0.0), (0.9, 0.0), (0.0, 0.9), (0.5, 0.5)]:
        generator = torch.Generator().manual_seed(3)
        due(4, *probabilities, generator)
        states.append(generator.get_state())
    by_hand = torch.Generator().manual_seed(3)
    torch.rand(5, dtype=torch.float64, generator=by_hand)
    assert all(state.equal(by_hand.get_state()) for state in states)


def test_strict_improvement_moves_the_bests_and_the_worst() -> None:
    # Personal bests were 0.5, 0.75 and 0.25. The first improves, the second falls below w = 0.25, the third becomes g.
    swarm = three_particles()
    score(swarm, [11, 12, 13], [0.625, 0.125, 0.875])
    assert swarm.personal_bests.tolist() == [[11], [2], [13]]
    assert swarm.personal_best_utilities.tolist() == [0.625, 0.75, 0.875]
    assert swarm.utilities.tolist() == [0.625, 0.125, 0.875]
    assert (swarm.global_best.item(), swarm.global_best_utility.item(), swarm.best_particle.item()) == (13, 0.875, 2)
    assert (swarm.global_worst.item(), swarm.global_worst_utility.item()) == (12, 0.125)
    assert swarm.stagnation.tolist() == [1, 2, 1]
    assert swarm.plateau.item() == 1
    assert swarm.iterations.item() == 1


def test_ties_keep_the_older() -> None:
    # Every particle ties its own best; 0.75 ties g and 0.25 ties w.
    swarm = three_particles()
    score(swarm, [11, 12, 13], [0.5, 0.75, 0.25])
    assert swarm.personal_bests.tolist() == [[1], [2], [3]]
    assert swarm.global_best.item() == 2
    assert swarm.global_worst.item() == 3
    assert swarm.stagnation.tolist() == [2, 2, 2]
    assert swarm.plateau.item() == 2


def test_a_tie_with_the_global_best_of_another_particle_is_a_personal_best_only() -> None:
    swarm = three_particles()
    score(swarm, [11, 12, 13], [0.75, 0.5, 0.5])
    assert swarm.personal_bests.tolist() == [[11], [2], [13]]
    assert (swarm.global_best.item(), swarm.best_particle.item(), swarm.plateau.item()) == (2, 1, 2)


def test_the_first_particle_in_order_wins_among_equals() -> None:
    swarm = three_particles()
    score(swarm, [11, 12, 13], [0.0, 0.875, 0.875])
    assert (swarm.global_best.item(), swarm.best_particle.item()) == (12, 1)
    score(swarm, [21, 22, 23], [1.0, -1.0, -1.0])
    assert (swarm.global_best.item(), swarm.best_particle.item()) == (21, 0)
    assert swarm.global_worst.item() == 22


def test_the_worst_is_the_worst_ever_seen() -> None:
    swarm = three_particles()
    score(swarm, [11, 12, 13], [0.5, 0.5, 0.5])
    assert (swarm.global_worst.item(), swarm.global_worst_utility.item()) == (3, 0.25)


def test_a_worst_that_is_not_tracked_stays_as_it_was() -> None:
    swarm = three_particles()
    places = torch.tensor([[11.0], [12.0], [13.0]])
    swarm.positions.copy_(places)
    remember(swarm, torch.tensor([-5.0, 0.875, 0.5]), ALL, track_worst=False)
    assert (swarm.global_worst.item(), swarm.global_worst_utility.item()) == (3, 0.25)
    assert (swarm.global_best.item(), swarm.personal_bests.tolist()) == (12, [[1], [12], [13]])


def test_the_bests_are_copies_that_do_not_follow_the_particles() -> None:
    swarm = three_particles()
    score(swarm, [11, 12, 13], [1.0, 0.0, 0.5])
    swarm.positions.add_(100)
    assert swarm.personal_bests.tolist() == [[11], [2], [13]]
    assert (swarm.global_best.item(), swarm.global_worst.item()) == (11, 12)


def test_a_skipped_particle_keeps_its_last_utility_and_still_stagnates() -> None:
    swarm = three_particles()
    score(swarm, [11, 12, 13], [0.875, 1.0, 0.0], torch.tensor([True, False, True]))
    assert swarm.utilities.tolist() == [0.875, 0.75, 0.0]
    assert swarm.personal_bests.tolist() == [[11], [2], [3]]
    assert swarm.stagnation.tolist() == [1, 2, 2]
    assert (swarm.global_best.item(), swarm.global_worst.item()) == (11, 13)


@pytest.mark.parametrize("placeholder", [math.nan, math.inf, -math.inf, 9.0, -9.0])
def test_what_stands_in_place_of_a_skipped_utility_is_never_read(placeholder: float) -> None:
    swarm = three_particles()
    score(swarm, [11, 12, 13], [placeholder] * 3, NONE)
    assert swarm.utilities.tolist() == [0.5, 0.75, 0.25]
    assert swarm.personal_best_utilities.tolist() == [0.5, 0.75, 0.25]
    assert (swarm.global_best.item(), swarm.global_worst.item()) == (2, 3)
    assert swarm.stagnation.tolist() == [2, 2, 2]
    assert (swarm.plateau.item(), swarm.iterations.item()) == (2, 1)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_utility_that_is_not_finite_is_never_best_or_worst(broken: float) -> None:
    swarm = three_particles()
    score(swarm, [11, 12, 13], [broken, 1.0, broken])
    assert swarm.personal_bests.tolist() == [[1], [12], [3]]
    assert (swarm.global_best.item(), swarm.global_worst.item()) == (12, 3)
    assert swarm.stagnation.tolist() == [2, 1, 2]
    torch.testing.assert_close(swarm.utilities.float(), torch.tensor([broken, 1, broken]), equal_nan=True)


def test_only_broken_utilities_leave_every_best_and_the_worst_alone() -> None:
    swarm = three_particles()
    score(swarm, [11, 12, 13], [math.nan, math.inf, -math.inf])
    assert swarm.personal_best_utilities.tolist() == [0.5, 0.75, 0.25]
    assert (swarm.global_best.item(), swarm.global_worst.item(), swarm.plateau.item()) == (2, 3, 2)


def test_the_first_finite_utility_of_a_particle_is_a_personal_best_however_low() -> None:
    swarm = begin([[1.0], [2.0], [3.0]], [math.nan, 0.75, 0.25])
    score(swarm, [11, 12, 13], [-100.0, 0.5, 0.25])
    assert swarm.personal_bests.tolist() == [[11], [2], [3]]
    assert swarm.global_worst.item() == 11


def test_float32_utilities_are_accepted_and_float64_is_compared_to_the_last_digit() -> None:
    swarm = three_particles()
    remember(swarm, torch.tensor([0.5, 0.75, 0.5]), ALL)
    assert swarm.utilities.dtype == torch.float64
    score(swarm, [11, 12, 13], [0.5, 0.75 + 2**-50, 0.25])
    assert swarm.global_best.item() == 12


def test_a_search_is_exhausted_when_the_last_values_of_the_global_best_are_equal() -> None:
    # g reads 0.75, then 0.875 twice, 1.0, 1.0, 1.0. Patience 2 asks for more than two values, the last two of them
    # equal; patience 3 for more than three, the last three equal.
    swarm = three_particles()
    seen = [(exhausted(swarm, 2), exhausted(swarm, 3))]
    for best in [0.875, 0.5, 1.0, 0.5, 1.0]:
        score(swarm, [1, 2, 3], [0.5, best, 0.25])
        seen.append((exhausted(swarm, 2), exhausted(swarm, 3)))
    assert seen == [(False, False), (False, False), (True, False), (False, False), (True, False), (True, True)]


def test_more_values_than_the_patience_must_exist() -> None:
    # 0.75 three times are not more than three values; four are.
    swarm = three_particles()
    for expected in [False, False, False, True]:
        assert exhausted(swarm, 3) is expected
        score(swarm, [1, 2, 3], [0.5, 0.5, 0.5])


def test_a_search_that_keeps_rising_is_never_exhausted() -> None:
    swarm = three_particles()
    for iteration in range(20):
        score(swarm, [1, 2, 3], [1.0 + iteration, 0, 0])
        assert not exhausted(swarm, 2)


@pytest.mark.parametrize("block", [1, 2, 1000])
def test_diversity_is_the_root_mean_square_distance_from_the_centre(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    # Centre (2, 0, 1): squared distances 4 + 0 + 1, 0 + 9 + 0 and 4 + 9 + 1; sqrt(28 / 3).
    monkeypatch.setattr(rules, "BLOCK", block)
    positions = torch.tensor([[0.0, 0, 2], [2, 3, 1], [4, -3, 0]])
    assert diversity(positions) == pytest.approx((28 / 3) ** 0.5)
    assert diversity(positions + 5) == pytest.approx((28 / 3) ** 0.5)
    assert diversity(3 * positions) == pytest.approx(3 * (28 / 3) ** 0.5)


def test_equal_particles_have_no_diversity() -> None:
    assert diversity(torch.ones(4, 3)) == 0
