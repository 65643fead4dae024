"""How long a search is likely to go on, checked against a simulation of the rule that ends it."""

import random

import pytest

from swarm_lightning.plan.likely import (
    GRADED,
    LEFT_OUT,
    RIGHT_OR_WRONG,
    Rises,
    Span,
    chance_of_rise,
    ends,
    left_out,
    span_of,
)

# Where 40 searches of the demo world have ended, of at most 50 iterations at a patience of 10
# (`benchmarks/results/early_stop.md`: full evaluations / 4000 - 1).
SEEN = [
    11, 11, 12, 13, 14, 14, 14, 17, 21, 29, 11, 13, 14, 14, 15, 18, 18, 19, 20, 21,
    12, 13, 14, 15, 16, 18, 20, 20, 20, 24, 12, 12, 12, 13, 15, 16, 17, 18, 20, 21,
]  # fmt: skip
# Where others have, to which nothing was fitted: 16 of the demo world with drawn coefficients, of
# `benchmarks/results/demo_gain.md`, seeds 1 to 4, and 11 of a world of other words and skills.
APART = [
    12, 12, 26, 20, 12, 14, 18, 13, 18, 22, 14, 12, 13, 21, 23, 18, 16, 12, 12, 16, 14, 12, 22, 13, 14, 12, 13,
]  # fmt: skip
# Where searches by the likelihood of texts have: 4 tasks of the demo world, 50 examples.
BY_LIKELIHOOD = [15, 22, 33, 21, 19, 21, 14, 19, 15]


def simulated(most: int, patience: int, particles: int, draws: random.Random) -> int:
    """Return when a search ends whose global best rises as often as it is said to: by the rule of `StopOnPlateau`."""
    values = [0]
    for iteration in range(1, most + 1):
        values.append(values[-1] + (draws.random() < chance_of_rise(iteration, particles)))
        if len(values) > patience and len(set(values[-patience:])) == 1:
            return iteration
    return most


@pytest.mark.parametrize(("most", "patience", "particles"), [(50, 10, 20), (12, 3, 8)])
def test_ends_are_those_of_a_simulation(most: int, patience: int, particles: int) -> None:
    chances, draws = ends(most, patience, particles), random.Random(0)
    assert sum(chances.values()) == pytest.approx(1)
    found = [simulated(most, patience, particles, draws) for _ in range(2000)]
    assert {end for end in found if found.count(end) > 20} <= set(chances)
    for end, chance in chances.items():
        assert found.count(end) / 2000 == pytest.approx(chance, abs=0.035)


@pytest.mark.parametrize(("seen", "rises"), [(SEEN, RIGHT_OR_WRONG), (APART, RIGHT_OR_WRONG), (BY_LIKELIHOOD, GRADED)])
def test_searches_end_where_it_is_likely(seen: list[int], rises: Rises) -> None:
    span = span_of(ends(50, 10, 20, rises=rises))
    inside = [end for end in seen if span.low <= end <= span.high]
    assert 0.7 <= len(inside) / len(seen) <= 0.95, "four of five"
    assert sorted(seen)[len(seen) // 2] == pytest.approx(span.likely, abs=1)


def test_a_search_that_has_gone_on_without_a_rise_ends_soon() -> None:
    whole = span_of(ends(50, 10, 20))
    late = span_of(ends(50, 10, 20, done=8, equal=8))
    assert late.likely < whole.likely
    assert late.low == 10
    assert ends(50, 10, 20, done=50) == {50: 1.0}


def test_the_exact_stop_leaves_out_no_more_than_theory_allows() -> None:
    assert all(0 < share < 1 for share in LEFT_OUT)
    assert left_out(100, 0.4) == pytest.approx(LEFT_OUT[-1] * 0.4)
    assert left_out(1, -0.1) == 0
    assert left_out(20, 3.0) < 1


def test_a_span_is_multiplied_end_by_end() -> None:
    assert Span(1, 2, 4).times(3, plus=1) == Span(4, 7, 13)
