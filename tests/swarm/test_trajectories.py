"""Whole searches, step by step, against the plain-Python implementation in `reference.py`."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm import ParticleSwarm, StepLengthDecay
from swarm_lightning.swarm.rules import exhausted, stagnant

from .reference import Settings, Trajectory, Vector, search

CENTRE = np.array([0.3, -0.4, 0.5, 0.1, -0.2])
COEFFICIENTS = ((0.2, 0.3, 0.4, 0.05), (0.1, 0.5, 0.2, 0.1), (0.3, 0.1, 0.6, 0.01))


class Staircase:
    """A landscape cut into steps, as the mean score of `steps` examples is; ties between particles are frequent.

    Attributes:
        margin: The smallest distance between an edge of a step and what was asked for, in steps. Float32 positions
            may fall on the other side of an edge that is nearer than their rounding.
    """

    def __init__(self, landscape: Callable[[Vector], float], steps: int) -> None:
        self.landscape = landscape
        self.steps = steps
        self.margin = math.inf

    def __call__(self, position: Vector) -> float:
        height = self.landscape(position) * self.steps
        self.margin = min(self.margin, abs(height - round(height)))
        return math.floor(height) / self.steps


def bowl(position: Vector) -> float:
    return float(np.exp(-np.square(position - CENTRE).sum() / 8))


def ripples(position: Vector) -> float:
    shifted = position - CENTRE
    return float(0.8 - 0.02 * np.square(shifted).sum() + 0.03 * np.cos(4 * shifted).sum())


def distance_from_centre(position: Vector) -> float:
    return float(np.sqrt(np.square(position - CENTRE).sum()))


class FailsFarAway(Staircase):
    """A landscape whose evaluation fails (NaN) far away from the centre."""

    def __call__(self, position: Vector) -> float:
        distance = distance_from_centre(position)
        self.margin = min(self.margin, abs(distance - 2.5) * self.steps)
        return super().__call__(position) if distance < 2.5 else math.nan


LANDSCAPES: dict[str, Callable[[], Staircase]] = {
    "bowl in 200 steps": lambda: Staircase(bowl, 200),
    "bowl in 20 steps": lambda: Staircase(bowl, 20),
    "ripples in 200 steps": lambda: Staircase(ripples, 200),
    "cone that fails far away in 100 steps": lambda: FailsFarAway(lambda x: 0.9 - 0.2 * distance_from_centre(x), 100),
}


def replay(generator: torch.Generator, swarm: ParticleSwarm, iterations: int) -> tuple[list[Any], list[list[bool]]]:
    """Draw what `step` is going to draw: the four numbers of every particle, then N + 1 numbers for dropping."""
    group, particles = swarm.param_groups[0], swarm.positions.shape[0]
    copied = torch.Generator()
    copied.set_state(generator.get_state())
    draws, skipped = [], []
    for _ in range(iterations):
        draws.append(torch.rand(particles, 4, dtype=torch.float64, generator=copied).tolist())
        first, *others = torch.rand(particles + 1, dtype=torch.float64, generator=copied).tolist()
        skipped.append([first < group["drop_iteration"] or other < group["drop_particle"] for other in others])
    return draws, skipped


def partners_of(swarm: ParticleSwarm) -> list[int]:
    """Read off the first velocities which other particle each one heads for."""
    positions, partners = swarm.positions, []
    for index, target in enumerate(positions + swarm.swarm.velocities):
        candidates = [j for j in range(len(positions)) if j != index and torch.allclose(positions[j], target)]
        assert candidates, f"particle {index} heads for no other particle"
        partners.append(candidates[0])
    return partners


class TooClose(Exception):  # noqa: N818
    """A case that rounding could decide, and that therefore tells nothing."""


def travel_together(start: Tensor, staircase: Staircase, settings: Settings, seed: int, **options: Any) -> Trajectory:
    """Run the swarm and the reference from the same start, and compare all there is in every iteration.

    Raises:
        TooClose: If some utility lies so near to an edge that float32 may decide it differently.
    """
    positions = start.clone()
    swarm = ParticleSwarm(
        [positions],
        lr=settings.step_length,
        inertia=settings.inertia,
        cognitive=settings.cognitive,
        social=settings.social,
        repel=settings.repel,
        first_velocity=settings.first_velocity,  # type: ignore[arg-type]
        **options,
    )
    schedule = StepLengthDecay(swarm, settings.step_length_factor, settings.minimum_step_length)
    plain = Staircase.__new__(type(staircase))
    vars(plain).update(vars(staircase))

    def score() -> Tensor:
        return torch.tensor([plain(position) for position in positions.double().numpy()], dtype=torch.float64)

    generator = torch.Generator().manual_seed(seed)
    swarm.begin(score(), generator)
    draws, skipped = replay(generator, swarm, settings.iterations)
    expected = search(
        list(start.double().numpy()),
        staircase,
        settings,
        partners=partners_of(swarm) if settings.first_velocity == "random" else None,
        draws=draws if options["randomness"] else None,
        skipped=skipped,
    )
    if staircase.margin < 2e-3:
        raise TooClose

    done, stopped = 0, False
    for _ in range(settings.iterations):
        if exhausted(swarm.swarm, settings.patience):
            stopped = True
            break
        chosen = stagnant(swarm.swarm, settings.restart_patience)
        swarm.restart(chosen, settings.cool_down)
        assert chosen.nonzero().flatten().tolist() == expected.restarted[done]
        utilities = swarm.step(score)
        schedule.step()
        done += 1

        state = swarm.swarm
        np.testing.assert_array_equal(utilities.numpy(), expected.utilities[done])
        np.testing.assert_allclose(state.positions, np.stack(expected.positions[done]), rtol=0, atol=2e-5)
        np.testing.assert_allclose(state.global_best, expected.global_bests[done], rtol=0, atol=1e-5)
        assert state.global_best_utility.item() == expected.global_best_utilities[done]
        assert state.global_worst_utility.item() == expected.global_worst_utilities[done]
        assert state.best_particle.item() == expected.best_particles[done]
        assert state.iterations.item() == done
    assert stopped == expected.stopped_by_patience
    assert done == len(expected.restarted)
    counts = [sum(index in restarted for restarted in expected.restarted) for index in range(len(start))]
    assert swarm.swarm.restarts.tolist() == counts
    return expected


def compare(landscape: str, settings: Settings, twins: bool = False, **options: Any) -> Trajectory:
    """Compare one trajectory, from the first random start that no rounding can decide."""
    options = {"randomness": False, **options}
    for seed in range(20):
        start = torch.randn(4 if twins else 8, 5, generator=torch.Generator().manual_seed(seed))
        if twins:  # the second half repeats the first
            start = torch.cat([start, start])
        try:
            return travel_together(start, LANDSCAPES[landscape](), settings, seed, **options)
        except TooClose:
            continue
    raise AssertionError("Expected at least one of twenty starts to keep clear of the edges of the steps.")


@pytest.mark.parametrize("landscape", LANDSCAPES)
@pytest.mark.parametrize("cool_down", [False, True], ids=["", "cool-down"])
@pytest.mark.parametrize("repel", [True, False], ids=["repel", "no repel"])
@pytest.mark.parametrize("first_velocity", ["zero", "best"])
def test_the_trajectory_without_randomness_is_the_references(
    first_velocity: str, repel: bool, cool_down: bool, landscape: str
) -> None:
    number = list(LANDSCAPES).index(landscape)
    inertia, cognitive, social, repelled = COEFFICIENTS[number % 3]
    settings = Settings(
        iterations=25,
        patience=8,
        restart_patience=3,
        cool_down=cool_down,
        first_velocity=first_velocity,
        inertia=inertia,
        cognitive=cognitive,
        social=social,
        repel=repelled if repel else 0.0,
        step_length=(0.5, 0.75, 1.0)[number % 3],
    )
    expected = compare(landscape, settings)
    assert expected.global_best_utilities[-1] > expected.global_best_utilities[0], "the case is trivial"
    assert any(expected.restarted), "the case restarts nobody"
    assert np.isnan(expected.utilities).any() == ("fails" in landscape)


@pytest.mark.parametrize("landscape", LANDSCAPES)
@pytest.mark.parametrize("coefficients", COEFFICIENTS)
@pytest.mark.parametrize("first_velocity", ["random", "zero", "best"])
def test_the_trajectory_with_randomness_is_the_references_for_the_same_draws(
    first_velocity: str, coefficients: tuple[float, float, float, float], landscape: str
) -> None:
    settings = Settings(25, 10, 4, False, first_velocity, *coefficients)
    expected = compare(landscape, settings, randomness=True)
    assert expected.global_best_utilities[-1] > expected.global_best_utilities[0], "the case is trivial"
    assert any(expected.restarted), "the case restarts nobody"
    assert np.isnan(expected.utilities).any() == ("fails" in landscape)


@pytest.mark.parametrize("randomness", [False, True])
@pytest.mark.parametrize(("drop_iteration", "drop_particle"), [(0.3, 0.0), (0.0, 0.3), (0.2, 0.2)])
def test_the_trajectory_with_skipped_evaluations_is_the_references(
    drop_iteration: float, drop_particle: float, randomness: bool
) -> None:
    settings = Settings(30, 20, 3, first_velocity="best")
    expected = compare(
        "ripples in 200 steps",
        settings,
        randomness=randomness,
        drop_iteration=drop_iteration,
        drop_particle=drop_particle,
    )
    assert expected.global_best_utilities[-1] > expected.global_best_utilities[0]


@pytest.mark.parametrize("first_velocity", ["zero", "best"])
def test_particles_that_start_as_twins_stay_twins_and_the_first_of_them_leads(first_velocity: str) -> None:
    expected = compare("bowl in 200 steps", Settings(20, 30, 3, first_velocity=first_velocity), twins=True)
    assert all(utilities[:4] == utilities[4:] for utilities in expected.utilities)
    assert max(expected.best_particles) < 4


@pytest.mark.parametrize("patience", [1, 2, 5, 10])
def test_patience_stops_the_search_in_the_references_iteration(patience: int) -> None:
    expected = compare("bowl in 20 steps", Settings(60, patience, 3, first_velocity="best"))
    assert expected.stopped_by_patience


@pytest.mark.parametrize("restart_patience", [1, 2, 6])
@pytest.mark.parametrize("cool_down", [False, True])
def test_restarts_happen_in_the_references_iterations(restart_patience: int, cool_down: bool) -> None:
    settings = Settings(30, 40, restart_patience, cool_down, "best")
    expected = compare("bowl in 20 steps", settings, randomness=True)
    assert sum(map(len, expected.restarted)) > 20


def test_the_trajectories_tie_often_enough_to_tell_ties_apart() -> None:
    # What the tests above lean on: equal utilities among particles and of one particle with its own past.
    expected = compare("bowl in 20 steps", Settings(30, 40, 3, first_velocity="best"))
    shared = sum(len(set(utilities)) < len(utilities) for utilities in expected.utilities)
    repeated = sum(
        utilities[index] in [earlier[index] for earlier in expected.utilities[:number]]
        for number, utilities in enumerate(expected.utilities)
        for index in range(8)
    )
    assert shared > 20
    assert repeated > 100


def test_the_reference_follows_a_search_worked_out_by_hand() -> None:
    # Two particles at 0 and 4, f(x) = x, v = 0, cognitive 1, social 1, repel 2, step length 1/2 then 1/4 (the floor).
    # First: p = (0, 4), g = 4, w = 0, C = 4.
    #   v_0 = ((0 - 0) + (4 - 0) + 2 (0 - 0)) / 4 = 1,  x_0 = 0 + 1/2 = 0.5: a new personal best.
    #   v_1 = ((4 - 4) + (4 - 4) + 2 (4 - 0)) / 4 = 2,  x_1 = 4 + 1 = 5: a new personal and global best.
    # Second: p = (0.5, 5), g = 5, w = 0.
    #   v_0 = (0 + 4.5 + 2 * 0.5) / 4 = 1.375,  x_0 = 0.5 + 1.375 / 4 = 0.84375.
    #   v_1 = (0 + 0 + 2 * 5) / 4 = 2.5,  x_1 = 5 + 2.5 / 4 = 5.625.
    settings = Settings(2, 10, 5, False, "zero", 0.0, 1.0, 1.0, 2.0, 0.5, 0.5, 0.25)
    expected = search([np.array([0.0]), np.array([4.0])], lambda x: float(x[0]), settings)
    assert expected.utilities == [[0, 4], [0.5, 5], [0.84375, 5.625]]
    assert [float(best[0]) for best in expected.global_bests] == [4, 5, 5.625]
    assert expected.global_worst_utilities == [0, 0, 0]

    positions = torch.tensor([[0.0], [4.0]])
    swarm = ParticleSwarm([positions], 0.5, 0.0, 1.0, 1.0, 2.0, randomness=False, first_velocity="zero")
    schedule = StepLengthDecay(swarm, 0.5, 0.25)
    swarm.begin(positions[:, 0], torch.Generator())
    assert swarm.step(lambda: positions[:, 0]).tolist() == [0.5, 5]
    schedule.step()
    assert swarm.step(lambda: positions[:, 0]).tolist() == [0.84375, 5.625]
