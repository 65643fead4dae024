"""Fine-tuning on a real search's bench: gradients by plain differences, the starts by hand, and what is handed over."""

import pytest
import torch

from swarm_lightning.baselines import gradient_descent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.fine_tuning import Beginning, FineTuning, descent_on, fresh, mean_of_products
from swarm_lightning.experts.checks import DOWN, UP
from swarm_lightning.experts.layout import Layout
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from tests.evaluation.calls_of_models import calls_of
from tests.search.tiny_search import NEW_TOKENS


@pytest.fixture
def bench(opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(gradient_descent, "EPOCHS", 3)
    monkeypatch.setattr(opened.evaluator, "objective", ExactMatch(max_new_tokens=NEW_TOKENS))
    return Bench(opened, opened.trainer.datamodule.splits.validation, seed=1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("beginning", ["zero", "expert", "mean"])
def test_what_is_handed_over_has_the_reported_utility(bench: Bench, beginning: Beginning) -> None:
    with calls_of([bench.resident.engine.adapted.model]) as calls:
        found = FineTuning(beginning).compose(bench)
    assert found.forward_passes == len(calls) > 0
    assert found.vector is not None
    assert found.vector.shape == bench.experts[0].shape
    assert bench.utility(found.vector) == found.utility


def test_the_same_seed_makes_the_same_adapter_and_leaves_the_experts_as_they_were(bench: Bench) -> None:
    before = bench.experts.clone()
    first, second = (FineTuning("expert").compose(Bench(bench.module, bench.examples, seed=4)).vector for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.equal(second)
    assert bench.experts.equal(before)


def test_training_lowers_the_loss_on_what_is_read(bench: Bench) -> None:
    descent, resident = descent_on(bench)
    *_, last = vectors = list(descent.epochs(bench.experts[0], descent.answers))
    with torch.no_grad():
        before, after = (float(sum(descent.parts(vector, descent.answers))) for vector in (bench.experts[0], last))
    resident.unload()
    assert len(vectors) == 4
    assert vectors[0].equal(bench.experts[0])
    assert after < before


def test_the_gradient_is_the_slope_of_the_loss(bench: Bench) -> None:
    descent, resident = descent_on(bench)
    weights = torch.nn.Parameter(bench.experts[0].clone())
    next(descent.parts(weights, descent.answers)).backward()
    assert weights.grad is not None
    direction = weights.grad / weights.grad.norm()
    step = 1e-2
    with torch.no_grad():
        places = (weights + sign * step * direction for sign in (1, -1))
        ahead, behind = (float(next(descent.parts(place, descent.answers))) for place in places)
    resident.unload()
    assert (ahead - behind) / (2 * step) == pytest.approx(float(weights.grad.norm()), rel=0.05)


def test_starts_by_hand() -> None:
    layout = Layout.of({f"x{DOWN}": torch.zeros(1, 2), f"x{UP}": torch.zeros(2, 1)})
    start = layout.unflatten(fresh(layout, torch.Generator().manual_seed(0)))
    assert not start[f"x{UP}"].any()
    assert start[f"x{DOWN}"].any()
    assert (start[f"x{DOWN}"].abs() <= 2**-0.5).all()
    # Products diag(4, 0) and diag(0, 2): their mean diag(2, 1) is closest to diag(2, 0) at rank 1.
    experts = torch.stack(
        [
            layout.flatten({f"x{DOWN}": torch.tensor([[2.0, 0.0]]), f"x{UP}": torch.tensor([[2.0], [0.0]])}),
            layout.flatten({f"x{DOWN}": torch.tensor([[0.0, 1.0]]), f"x{UP}": torch.tensor([[0.0], [2.0]])}),
        ]
    )
    mean = layout.unflatten(mean_of_products(experts, layout))
    assert torch.allclose(mean[f"x{UP}"] @ mean[f"x{DOWN}"], torch.tensor([[2.0, 0.0], [0.0, 0.0]]), atol=1e-5)
