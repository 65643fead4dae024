"""Intervals, against distributions that can be computed."""

import math

import pytest
import torch

from swarm_lightning.baselines.bootstrap import interval, resampled_means


def test_a_mean_of_hits_varies_as_a_binomial_does() -> None:
    scores = torch.zeros(1, 400, dtype=torch.float64)
    scores[0, :100] = 1
    means = resampled_means(scores, 4000)[0]
    # Share 1/4 of 400: standard deviation sqrt(0.25 * 0.75 / 400) = 0.02165; 95% within 1.96 of them.
    assert float(means.mean()) == pytest.approx(0.25, abs=0.002)
    assert float(means.std()) == pytest.approx(math.sqrt(0.1875 / 400), rel=0.05)
    low, high = interval(means)
    assert (low, high) == (pytest.approx(0.25 - 0.0424, abs=0.004), pytest.approx(0.25 + 0.0424, abs=0.004))


def test_rows_are_resampled_with_the_same_examples() -> None:
    # The second row is the first less one tenth on every example: the difference never varies.
    first = torch.rand(1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    means = resampled_means(torch.cat([first, first - 0.1]), 500)
    assert interval(means[0] - means[1]) == (pytest.approx(0.1), pytest.approx(0.1))
    assert float(means[0].std()) > 0.01


def test_the_number_of_samples_is_what_was_asked_for_and_the_seed_repeats_them() -> None:
    scores = torch.eye(5, dtype=torch.float64)
    means = resampled_means(scores, 2345)
    assert means.shape == (5, 2345)
    assert means.equal(resampled_means(scores, 2345))
    torch.testing.assert_close(means.sum(dim=0), torch.ones(2345, dtype=torch.float64))
