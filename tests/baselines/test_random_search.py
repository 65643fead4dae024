"""What random combinations look like, and the optimizer that LoraHub asks."""

import threading
import warnings

import numpy
import pytest
import torch

from swarm_lightning.baselines.bench import Bench, combine
from swarm_lightning.baselines.lorahub import LoraHub, loss, optimizer_of
from swarm_lightning.baselines.random_search import draw_weights
from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.experts.vectors import Vectors
from swarm_lightning.search import ModelSwarm


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


@pytest.mark.parametrize(("budget", "within"), [(60, 0.5), (600, 1e-4)])
def test_lorahub_finds_the_least_loss_again_whatever_the_budget(budget: int, within: float) -> None:
    # The squared distance from a point; with 600 candidates the library would put a model of the loss in between.
    target = torch.linspace(-1, 1, 10).numpy()

    def found() -> list[float]:
        optimizer = optimizer_of(10, budget, seed=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(budget):
                candidate = optimizer.ask()
                optimizer.tell(candidate, float(((candidate.value - target) ** 2).sum()))
            return list(optimizer.provide_recommendation().value)

    first = found()
    assert float(((torch.tensor(first) - torch.tensor(target)) ** 2).sum()) < within
    assert found() == first


class Interrupted(Bench):
    """A bench at which the user presses Ctrl-C during the third question."""

    def evaluate(self, vectors: Vectors) -> Evaluation:
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().evaluate(vectors)


def test_an_interrupted_lorahub_leaves_no_thread_that_the_process_would_wait_for(opened: ModelSwarm) -> None:
    assert opened.splits is not None
    bench = Interrupted(opened, opened.splits.validation, seed=0, budget=1000)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt) as held:  # with all of its frames, as a process holds it until its end
        LoraHub().compose(bench)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    assert held.traceback


def test_lorahub_pays_for_large_coefficients() -> None:
    # -0.4 + 0.05 (1.5 + 0.5) / 2 = -0.35.
    assert round(loss(0.4, torch.tensor([1.5, -0.5])), 9) == -0.35
