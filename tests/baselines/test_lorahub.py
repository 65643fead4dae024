"""The optimizer that LoraHub asks, and what it pays for."""

import threading
import warnings

import pytest
import torch

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.lorahub import LoraHub, loss, optimizer_of
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.search import ModelSwarm
from swarm_lightning.vectors import Vectors
from tests.baselines.optional import need


@pytest.mark.parametrize(("budget", "within"), [(60, 0.5), pytest.param(600, 1e-4, marks=pytest.mark.slow)])
def test_lorahub_finds_the_least_loss_again_whatever_the_budget(budget: int, within: float) -> None:
    need("lorahub")
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
    need("lorahub")
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
