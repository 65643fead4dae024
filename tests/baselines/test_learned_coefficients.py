"""Coefficients by gradients on a real search's bench: the gradient by plain differences, and what is handed over."""

import pytest
import torch

from swarm_lightning.baselines import gradient_descent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.learned_coefficients import LearnedCoefficients, descent_on
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.right_answers import right_answers
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from tests.evaluation.calls_of_models import calls_of
from tests.search.tiny_search import NEW_TOKENS


@pytest.fixture
def bench(opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(gradient_descent, "EPOCHS", 3)
    monkeypatch.setattr(opened.evaluator, "objective", ExactMatch(max_new_tokens=NEW_TOKENS))
    return Bench(opened, opened.trainer.datamodule.splits.validation, seed=1)  # type: ignore[attr-defined]


def test_every_coefficient_has_its_slope_of_the_loss(bench: Bench) -> None:
    products = ProductBench(bench, granularity="module")
    resident = products.resident
    descent = descent_on(resident, right_answers(bench.module.objective, bench.examples, bench.resident.engine), 0)
    weights = torch.nn.Parameter(torch.linspace(-0.2, 0.6, products.groups.size))
    next(descent.parts(weights, descent.answers)).backward()
    assert weights.grad is not None
    step, slopes = 2e-2, []
    with torch.no_grad():
        for one in torch.eye(len(weights)) * step:
            ahead, behind = (float(next(descent.parts(weights + side * one, descent.answers))) for side in (1, -1))
            slopes.append((ahead - behind) / (2 * step))
    resident.unload()
    assert torch.allclose(weights.grad, torch.tensor(slopes), atol=0.05 * float(weights.grad.abs().max()))


def test_what_is_handed_over_has_the_reported_utility_and_the_seed_decides(bench: Bench) -> None:
    with calls_of([bench.resident.engine.adapted.model]) as calls:
        found, same = (LearnedCoefficients().compose(Bench(bench.module, bench.examples, seed=3)) for _ in range(2))
    assert found.forward_passes == same.forward_passes
    assert 2 * (found.forward_passes or 0) == len(calls) > 0
    assert found.scores is not None
    assert float(found.scores(bench.examples).mean()) == found.utility
    assert found.adapter is not None
    assert same.adapter is not None
    assert all(tensor.equal(same.adapter.tensors[name]) for name, tensor in found.adapter.tensors.items())
