"""Whole searches on scripted utilities, without any model: what `ask` wants to know and what `tell` makes of it.

The last tests define a space of their own, as a reader would who adds one: angles on a circle.
"""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm import ParticleSwarm
from swarm_lightning.swarm.ask_tell import Candidates, Draws, ask, begin, draw, tell
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.rules import exhausted, restart, stagnant
from swarm_lightning.swarm.settings import SwarmSettings
from swarm_lightning.swarm.space import Material, sketch_of
from swarm_lightning.swarm.spaces import SPACES
from swarm_lightning.swarm.spaces.dense import DenseSpace
from swarm_lightning.swarm.state import Swarm

SETTINGS = SwarmSettings(randomness=False, first_velocity="zero", kernel="plain")
SPACE = DenseSpace()
ALL = Draws(torch.ones(3, 4, dtype=torch.float64), torch.ones(3, dtype=torch.bool))


def begun(first: Sequence[float], settings: SwarmSettings = SETTINGS) -> Swarm:
    positions = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    return begin(SPACE, positions, torch.tensor(first), settings, torch.Generator().manual_seed(0))


def run(swarm: Swarm, script: Sequence[Sequence[float]], settings: SwarmSettings = SETTINGS) -> None:
    for utilities in script:
        candidates = ask(swarm, SPACE, settings, 0.5, ALL)
        tell(swarm, settings, candidates, torch.tensor(utilities))


def test_bests_follow_the_script_and_ties_keep_the_older() -> None:
    swarm = begun([0.1, 0.5, 0.3])
    run(swarm, [[0.2, 0.5, 0.1], [0.9, 0.6, 0.2], [0.9, 0.9, 0.0]])
    assert swarm.personal_best_utilities.tolist() == pytest.approx([0.9, 0.9, 0.3])
    assert float(swarm.global_best_utility) == pytest.approx(0.9)
    assert int(swarm.best_particle) == 0  # the second reached as much later
    assert float(swarm.global_worst_utility) == 0.0
    assert int(swarm.iterations) == 3
    assert swarm.global_best.equal(swarm.personal_bests[0])


# Particle 0 improves in iteration 3 only, the others in every one. Iterations since and including the one of its
# personal best, before iterations 1 to 6: 1 2 3 1 2 3.
WAITS = [[0.25, 0.6, 0.4], [0.25, 0.7, 0.5], [0.6, 0.8, 0.6], [0.5, 0.9, 0.7], [0.5, 1.0, 0.8], [0.5, 1.1, 0.9]]


@pytest.mark.parametrize(
    ("patience", "cool_down", "restarts"),
    [
        (1, False, [1, 2, 3, 4, 5, 6]),
        (2, False, [0, 1, 2, 2, 3, 4]),
        (3, False, [0, 0, 1, 1, 1, 2]),
        (4, False, [0, 0, 0, 0, 0, 0]),
        # With a cool-down the count begins anew at 0, and is 1 after the iteration: before 1 to 6 it is 1 2 1 1 2 1.
        (2, True, [0, 1, 1, 1, 2, 2]),
    ],
)
def test_a_particle_restarts_as_often_as_counted_by_hand(patience: int, cool_down: bool, restarts: list[int]) -> None:
    swarm, counted = begun([0.5, 0.5, 0.3]), []
    for utilities in WAITS:
        due = stagnant(swarm, patience)
        restart(swarm, due, cool_down)
        assert due.tolist()[1:] == [patience == 1] * 2, "who improves in every iteration has waited for one"
        counted.append(int(swarm.restarts[0]))
        if due[0]:
            assert swarm.positions[0].equal(swarm.personal_bests[0])
            assert not swarm.velocities[0].any()
        tell(swarm, SETTINGS, ask(swarm, SPACE, SETTINGS, 0.5, ALL), torch.tensor(utilities))
    assert counted == restarts
    assert swarm.personal_best_utilities.tolist() == pytest.approx([0.6, 1.1, 0.9])


# The best rises in iteration 2 only, or never; the values of it after 0 to 6 moves: 0.5 0.5 0.75 0.75 0.75 0.75 0.75.
RISES_ONCE = [[0.0, 0.5, 0.25], [0.75, 0.5, 0.0], [0.75, 0.5, 0.0], [0.5, 0.75, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
NEVER_RISES = [[0.5, 0.5, 0.5]] * 6


# It stops before an iteration if more than `patience` values exist and the last `patience` of them are equal.
@pytest.mark.parametrize(
    ("script", "patience", "iterations"),
    [
        (RISES_ONCE, 1, 1),  # after one iteration two values exist, and the last one equals itself
        (RISES_ONCE, 2, 3),  # not after 1 (two values only), not after 2 (0.5 0.75), but after 3 (0.75 0.75)
        (RISES_ONCE, 3, 4),
        (RISES_ONCE, 5, 6),
        (RISES_ONCE, 6, None),  # the whole of the script: five equal values are not six
        (NEVER_RISES, 3, 3),  # after 2 iterations three values are equal, but no more than three exist
    ],
)
def test_a_search_is_exhausted_in_the_iteration_counted_by_hand(
    script: list[list[float]], patience: int, iterations: int | None
) -> None:
    swarm, ended = begun([0.5, 0.0, 0.25]), None
    for count, utilities in enumerate(script, start=1):
        run(swarm, [utilities])
        if ended is None and exhausted(swarm, patience):
            ended = count
    assert ended == iterations


def test_the_move_is_that_of_the_four_terms_by_hand() -> None:
    # Particle 0 at rest in (0, 0) with p = x, g = (1, 0), w = x: v = social / C (1, 0) with C = 0.95, x += v / 2.
    swarm = begun([0.1, 0.5, 0.3])
    ask(swarm, SPACE, SETTINGS, 0.5, ALL)
    torch.testing.assert_close(swarm.positions[0], torch.tensor([0.4 / 0.95 / 2, 0.0]))


def test_only_those_that_are_due_are_read_and_a_lost_one_never_is() -> None:
    swarm = begun([0.1, 0.5, 0.3])
    swarm.velocities[2].fill_(math.inf)
    draws = Draws(ALL.terms, torch.tensor([False, True, True]))
    candidates = ask(swarm, SPACE, SETTINGS, 0.5, draws)
    assert candidates.due.tolist() == [False, True, False]
    assert candidates.lost.tolist() == [False, False, True]
    tell(swarm, SETTINGS, candidates, torch.tensor([0.9, 0.4, 0.9]))
    assert swarm.utilities.tolist() == pytest.approx([0.1, 0.4, -math.inf])
    assert swarm.positions[2].equal(swarm.personal_bests[2])  # it goes on from there, at rest
    assert swarm.velocities[2].eq(0).all()


def test_an_open_utility_changes_no_best_and_an_infinite_one_breaks_the_particle() -> None:
    swarm = begun([0.1, 0.5, 0.3])
    run(swarm, [[math.nan, math.inf, -math.inf]])
    assert swarm.personal_best_utilities.tolist() == pytest.approx([0.1, 0.5, 0.3])
    assert math.isnan(swarm.utilities[0])
    assert swarm.utilities[1:].tolist() == [-math.inf, -math.inf]
    assert swarm.positions[1:].equal(swarm.personal_bests[1:])


def test_utilities_of_another_shape_change_nothing() -> None:
    swarm = begun([0.1, 0.5, 0.3])
    candidates = ask(swarm, SPACE, SETTINGS, 0.5, ALL)
    with pytest.raises(ValueError, match="3 utilities, one per particle"):
        tell(swarm, SETTINGS, candidates, torch.zeros(2))
    assert int(swarm.iterations) == 0


def test_as_many_numbers_are_drawn_whatever_the_settings_are() -> None:
    states = []
    for settings in (SETTINGS, SwarmSettings(drop_iteration=0.9, drop_particle=0.5)):
        generator = torch.Generator().manual_seed(4)
        draws = draw(SPACE, 3, settings, generator)
        assert draws.terms.shape == (3, 4)
        states.append(generator.get_state())
    assert states[0].equal(states[1])


def test_the_optimizer_is_a_shim_over_ask_and_tell() -> None:
    def landscape(positions: Tensor) -> Tensor:
        return -(positions - 0.7).square().sum(dim=1)

    settings = SwarmSettings(drop_particle=0.2, kernel="plain")
    first = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    positions = first.clone()
    optimizer = ParticleSwarm([positions], lr=0.6, drop_particle=0.2)
    optimizer.begin(landscape(positions), torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(2)
    swarm = begin(SPACE, first, landscape(first), settings, generator)
    for _ in range(12):
        optimizer.step(lambda: landscape(positions))
        candidates = ask(swarm, SPACE, settings, 0.6, draw(SPACE, 5, settings, generator))
        tell(swarm, settings, candidates, landscape(first))
    for name, value in vars(swarm).items():
        assert value.equal(getattr(optimizer.swarm, name)), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drop_iteration": 1.0}, "drop_iteration to be a probability"),
        ({"first_velocity": "fast"}, "'random', 'zero' or 'best'"),
        ({"kernel": "fast"}, "'auto', 'compiled' or 'plain'"),
        ({"inertia": -1.0}, "inertia=-1.0"),
    ],
)
def test_settings_that_move_no_swarm_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SwarmSettings(**change)  # type: ignore[arg-type]


class CircleSpace(DenseSpace):
    """Positions are angles [N, 1]; the weights behind one are a point on the unit circle."""

    def empty(self, particles: int) -> Tensor:
        return torch.empty(particles, 1)

    def first_positions(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        return 2 * math.pi * torch.rand(particles, 1, generator=generator)

    def vectors(self, held: Tensor) -> Tensor:
        return torch.cat([held.cos(), held.sin()], dim=1)

    def vector(self, held: Tensor) -> Tensor:
        return self.vectors(held.unsqueeze(0))[0]


def height(space: CircleSpace, positions: Tensor) -> Tensor:
    return space.vectors(positions)[:, 1].double()


def test_a_space_of_ones_own_goes_through_ask_and_tell() -> None:
    space, generator = CircleSpace(), torch.Generator().manual_seed(3)
    positions = space.first_positions(Start(), 6, 2.0, generator)
    swarm = begin(space, positions, height(space, positions), SETTINGS, generator)
    for _ in range(30):
        candidates = ask(swarm, space, SETTINGS, 0.7, draw(space, 6, SETTINGS, generator))
        assert isinstance(candidates, Candidates)
        tell(swarm, SETTINGS, candidates, height(space, swarm.positions))
    assert float(swarm.global_best_utility) > 0.99
    assert float(space.vector(swarm.global_best).norm()) == pytest.approx(1)


def test_a_space_of_ones_own_is_one_for_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "memory/angle", CircleSpace)
    space = SPACES["memory/angle"](Material())
    assert isinstance(space, CircleSpace)
    positions = space.first_positions(Start(), 6, 2.0, torch.Generator().manual_seed(3))
    swarm = ParticleSwarm([positions])
    swarm.enter(space)
    swarm.begin(height(space, positions), torch.Generator().manual_seed(3))
    for _ in range(30):
        swarm.step(lambda: height(space, positions))
    assert float(swarm.swarm.global_best_utility) > 0.99
    with pytest.raises(RuntimeError, match="has begun"):
        swarm.enter(DenseSpace())


def test_a_sketch_keeps_distances_and_is_the_same_wherever_the_weights_lie() -> None:
    points = torch.randn(6, 600_000, generator=torch.Generator().manual_seed(5))
    sketch = sketch_of(points)
    assert sketch.shape == (6, 67)
    assert sketch.equal(sketch_of(list(points)))
    # 67 numbers: the square of a distance is kept to about sqrt(2 / 67), a sixth.
    ratio = torch.pdist(sketch) / torch.pdist(points)
    assert ratio.min() > 0.7
    assert ratio.max() < 1.3
    # By hand: the same signs for all, so a sketch of ones is that of the signs, and twice the points have it twice.
    signs = sketch_of(torch.ones(1, 600_000))
    assert signs.abs().max() < 5 * (600_000 / 67) ** 0.5
    assert sketch_of(2 * points).equal(2 * sketch)


def test_a_sketch_tells_of_what_a_vector_is_made() -> None:
    experts = torch.randn(10, 200_000, generator=torch.Generator().manual_seed(6))
    shares = torch.tensor([0.5, -0.25, *[0.0] * 7, 2.0])
    found = torch.linalg.lstsq(sketch_of(experts).T, sketch_of((shares @ experts)[None]).T).solution[:, 0]
    assert torch.allclose(found.float(), shares, atol=1e-4)


def test_the_columns_of_a_matrix_do_not_fall_on_one_number_of_a_sketch() -> None:
    loud = torch.zeros(2, 512, 64)
    loud[0, :, 3] = loud[1, :, 5] = 1.0
    sketch = sketch_of(loud.flatten(1))
    assert (sketch != 0).sum() > 100
    assert abs(float(sketch[0] @ sketch[1])) < 512 / 2
