"""What random combinations look like."""

import numpy
import torch

from swarm_lightning.baselines.bench import combine
from swarm_lightning.baselines.random_search import draw_weights


def test_coefficients_sum_to_one_and_reach_beyond_the_experts() -> None:
    weights = draw_weights(2000, 10, numpy.random.default_rng(0))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2000, dtype=torch.float64))
    inside = (weights >= 0).all(dim=1).double().mean()
    assert 0.4 < inside < 0.6  # the stretch is below 1 in half of the draws, above it in the other half
    assert float(weights.max()) > 1


def test_the_same_seed_draws_the_same() -> None:
    first, second = (draw_weights(3, 4, numpy.random.default_rng(7)) for _ in range(2))
    assert first.equal(second)


def test_combinations_are_sums_by_coefficients() -> None:
    # 2 (1, 2) - (3, 0) = (-1, 4), and 0.5 (1, 2) + 0.5 (3, 0) = (2, 1).
    experts = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    assert combine(experts, torch.tensor([[2.0, -1.0], [0.5, 0.5]])).tolist() == [[-1.0, 4.0], [2.0, 1.0]]
