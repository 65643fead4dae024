"""Means against fractions, and that none of them falls where a part rises, to the last digit."""

import math
import random
from fractions import Fraction

import pytest

from swarm_lightning.objectives.means import harmonic_mean, mean_score, weighted_mean


def test_a_mean_does_not_depend_on_the_order() -> None:
    draw = random.Random(0)
    for _ in range(200):
        scores = [draw.choice([0.1, 0.2, 0.3, 1 / 3, 1e-9, 1.0]) for _ in range(draw.randint(1, 12))]
        means = {mean_score(draw.sample(scores, len(scores))) for _ in range(10)}
        assert len(means) == 1
        assert means.pop() == pytest.approx(sum(scores) / len(scores))


def test_a_mean_rises_with_every_score() -> None:
    assert mean_score([0.1] * 9 + [0.1 + 2**-50]) >= mean_score([0.1] * 10) == 0.1
    assert mean_score([1.0, 0.0, 1.0]) == 2 / 3


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([0.5, 0.25], 1 / 3),  # 2 / (2 + 4)
        ([0.2, 0.4, 0.8], 3 / 8.75),  # 5 + 2.5 + 1.25
        ([0.7], 0.7),
        ([1.0, 1.0, 0.0], 0.0),
        ([0.9, -0.5], 0.0),  # below 0 counts as 0
        ([8.0, 1e-320], 0.0),  # too small for its inverse: as good as 0
        ([math.inf, 0.5], 1.0),  # 2 / (0 + 2)
    ],
)
def test_the_harmonic_mean(parts: list[float], expected: float) -> None:
    assert harmonic_mean(parts) == pytest.approx(expected, abs=1e-15)


def test_the_weighted_mean() -> None:
    assert weighted_mean([0.5, 0.25], [2, 1]) == pytest.approx(1.25 / 3)
    assert weighted_mean([-1.0, 1.0], [1, 3]) == 0.5
    assert weighted_mean([-math.inf, 1.0], [1, 3]) == -math.inf


def test_means_are_those_of_fractions_rounded() -> None:
    draw = random.Random(1)
    for _ in range(300):
        parts = [draw.choice([0.1, 1 / 3, 0.7, 1e-6, 1.0, 9.5]) for _ in range(draw.randint(1, 6))]
        exact = Fraction(len(parts)) / sum(1 / Fraction(part) for part in parts)
        assert harmonic_mean(parts) == pytest.approx(float(exact), rel=1e-15)


@pytest.mark.parametrize("combine", [harmonic_mean, mean_score, lambda parts: weighted_mean(parts, [3.0, 0.1, 7.0])])
def test_no_mean_falls_where_a_part_rises_by_the_least_step_there_is(combine: object) -> None:
    assert callable(combine)
    draw = random.Random(2)
    for _ in range(2000):
        parts = [draw.choice([0.0, draw.random(), 1 / 3, 1e-12, 0.1]) for _ in range(3)]
        place = draw.randrange(3)
        risen = list(parts)
        risen[place] = math.nextafter(parts[place], math.inf)
        assert combine(risen) >= combine(parts)
