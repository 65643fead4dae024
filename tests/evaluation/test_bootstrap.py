"""Intervals, against distributions that can be computed."""

import math
from collections.abc import Sequence

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.bootstrap import Gain, Resampling, gain_of, interval
from swarm_lightning.objectives import ExactMatch, MultiTask


def test_a_mean_of_hits_varies_as_a_binomial_does() -> None:
    scores = torch.zeros(1, 400, dtype=torch.float64)
    scores[0, :100] = 1
    means = Resampling(4000, [""] * 400).utilities(scores)[0]
    # Share 1/4 of 400: standard deviation sqrt(0.25 * 0.75 / 400) = 0.02165; 95% within 1.96 of them.
    assert float(means.mean()) == pytest.approx(0.25, abs=0.002)
    assert float(means.std()) == pytest.approx(math.sqrt(0.1875 / 400), rel=0.05)
    low, high = interval(means)
    assert (low, high) == (pytest.approx(0.25 - 0.0424, abs=0.004), pytest.approx(0.25 + 0.0424, abs=0.004))


def test_rows_are_resampled_with_the_same_examples() -> None:
    # The second row is the first less one tenth on every example: the difference never varies.
    first = torch.rand(1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    means = Resampling(500, [""] * 50).utilities(torch.cat([first, first - 0.1]))
    assert interval(means[0] - means[1]) == (pytest.approx(0.1), pytest.approx(0.1))
    assert float(means[0].std()) > 0.01


def test_the_number_of_samples_is_what_was_asked_for_and_the_seed_repeats_them() -> None:
    scores = torch.eye(5, dtype=torch.float64)
    means = Resampling(2345, [""] * 5).utilities(scores)
    assert means.shape == (5, 2345)
    assert means.equal(Resampling(2345, [""] * 5).utilities(scores))
    torch.testing.assert_close(means.sum(dim=0), torch.ones(2345, dtype=torch.float64))


def test_every_task_keeps_its_number_of_examples() -> None:
    # One task is always right and the other always wrong: 3 of 10 examples in every sample.
    scores = torch.tensor([[1.0] * 3 + [0.0] * 7], dtype=torch.float64)
    means = Resampling(50, ["a"] * 3 + ["b"] * 7).utilities(scores)
    torch.testing.assert_close(means, torch.full((1, 50), 0.3, dtype=torch.float64))


def test_a_utility_that_is_no_mean_is_computed_from_the_scores_that_were_drawn() -> None:
    # The highest score of a sample: 0.9 unless its example is missed, with probability (1 - 1/4)^4 = 0.3164.
    scores = torch.tensor([[0.1, 0.9, 0.1, 0.1]], dtype=torch.float64)
    drawn: list[Sequence[int]] = []

    def highest(some: Sequence[float], places: Sequence[int]) -> float:
        drawn.append(places)
        assert list(some) == [float(scores[0, place]) for place in places]
        return max(some)

    sampling = Resampling(600, [""] * 4, highest)
    assert sampling.utility(scores[0]) == 0.9
    missed = (sampling.utilities(scores) == 0.1).double().mean()
    assert float(missed) == pytest.approx(0.3164, abs=0.08)
    assert len(drawn) == 601


def test_a_gain_has_the_interval_of_its_paired_differences() -> None:
    # 60 of 400 examples are won and 20 lost. Of one difference: mean 0.1, variance 80/400 - 0.1^2 = 0.19; of the mean
    # of 400: standard deviation 0.0218, 95% within 1.96 of them.
    before, after = [0.0] * 60 + [1.0] * 340, [1.0] * 380 + [0.0] * 20
    gain = gain_of(before, after, Resampling(4000, [""] * 400))
    assert gain is not None
    assert gain.difference == pytest.approx(0.1)
    assert (gain.low, gain.high) == (pytest.approx(0.1 - 0.0427, abs=0.004), pytest.approx(0.1 + 0.0427, abs=0.004))
    assert not gain.within_noise
    assert gain == gain_of(before, after, Resampling(4000, [""] * 400))


@pytest.mark.parametrize(("won", "lost", "noise"), [(5, 3, True), (3, 5, True), (0, 0, True), (40, 4, False)])
def test_a_gain_is_within_noise_where_other_examples_might_tell_the_opposite(won: int, lost: int, noise: bool) -> None:
    before = [0.0] * won + [1.0] * lost + [1.0] * (100 - won - lost)
    after = [1.0] * won + [0.0] * lost + [1.0] * (100 - won - lost)
    gain = gain_of(before, after, Resampling(2000, [""] * 100))
    assert gain is not None
    assert gain.within_noise is noise
    assert str(gain).endswith("within noise") is noise


def test_an_interval_that_touches_0_is_within_noise() -> None:
    assert Gain(0.1, 0.0, 0.2).within_noise
    assert Gain(-0.1, -0.2, 0.0).within_noise


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_nothing_is_gained_over_or_by_a_broken_expert(score: float) -> None:
    assert gain_of([0.0, score], [1.0, 1.0], Resampling(10, [""] * 2)) is None
    assert gain_of([0.0, 1.0], [score, 1.0], Resampling(10, [""] * 2)) is None


def test_a_gain_is_one_of_the_utility_that_the_objective_reports() -> None:
    # The minimum of two tasks: from min(1/2, 1) to min(1, 1).
    examples = [Example(str(place), "x", task=task) for task in "ab" for place in range(2)]
    objective = MultiTask({"a": ExactMatch(), "b": ExactMatch()}, combine="minimum")
    gain = gain_of([0.0, 1.0, 1.0, 1.0], [1.0] * 4, Resampling.of(objective, examples, 50))
    assert gain is not None
    assert gain.difference == 0.5
    assert (gain.low, gain.high) == (0.0, 1.0)
