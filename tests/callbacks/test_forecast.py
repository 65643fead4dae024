"""What a search says of its own length, against how long it is."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from swarm_lightning.callbacks import Forecast, StopOnPlateau
from swarm_lightning.callbacks.forecast import Rest, rest_of
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm import CmaEs, EvolutionStrategy
from swarm_lightning.swarm.centre_search import CentreSearch
from tests.search.test_guide import use_unchecked
from tests.search.tiny_search import FULL, NEW_TOKENS, World, fitted, search


class Listener(L.Callback):
    """Keeps what is forecast before every iteration."""

    def __init__(self) -> None:
        self.heard: list[Rest | None] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, _: int) -> None:
        assert isinstance(pl_module, ModelSwarm)
        self.heard.append(rest_of(trainer, pl_module))


def test_without_patience_and_exact_stop_a_forecast_is_exact(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    with caplog.at_level("INFO"):
        module = search(world, tmp_path, callbacks=[listener, Forecast()], engine=FULL, particles=4, iterations=3)
    for rest in listener.heard:
        assert rest is not None
        assert (rest.iterations.low, rest.iterations.high, rest.most) == (3, 3, 3)
        assert rest.evaluations.likely == module.state.evaluations == 4 * 8 * 4
    left = [rest.seconds.likely for rest in listener.heard if rest is not None]
    assert left[0] > left[-1] > 0
    assert caplog.text.count("3 iterations, likely 128 evaluations in all") == 1


def test_patience_that_runs_out_shortens_the_forecast(world: World, tmp_path: Path) -> None:
    listener = Listener()
    search(world, tmp_path, callbacks=[StopOnPlateau(2), listener], iterations=9, particles=4)
    heard = [rest for rest in listener.heard if rest is not None]
    assert heard[0].iterations.low <= heard[0].iterations.likely < 9 == heard[0].most
    assert heard[0].seconds.likely < heard[0].most_seconds


@pytest.mark.parametrize("guide", ["objective", "smooth"])
@pytest.mark.parametrize(
    "strategy",
    [
        partial(EvolutionStrategy, evaluations=700, steps=5, batch=2),
        partial(CmaEs, evaluations=700, population=5),
    ],
    ids=["evolution", "CMA-ES"],
)
def test_a_forecast_of_a_search_by_a_budget_is_exact(
    world: World, tmp_path: Path, strategy: partial[CentreSearch], guide: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unchecked(monkeypatch)
    monkeypatch.setattr("swarm_lightning.search.guide.SHARE_SHOWN", 1.0)
    listener = Listener()
    module = ModelSwarm(
        str(world.base), experts=str(world.experts), objective=ExactMatch(max_new_tokens=NEW_TOKENS),
        optimizer=strategy, coefficients="expert", guide=guide, objective_every=2,
    )  # fmt: skip
    fitted(module, world, tmp_path, -1, 0, listener)
    assert module.state.guided == (guide == "smooth")
    assert len(listener.heard) == int(module.swarm.iterations) > 3
    assert {rest.evaluations.likely for rest in listener.heard if rest is not None} == {module.state.evaluations}


def test_a_budget_that_holds_no_step_is_not_overdrawn(world: World, tmp_path: Path) -> None:
    listener, examples = Listener(), 8
    strategy = partial(EvolutionStrategy, evaluations=(4 + 1) * examples + 3, steps=5, batch=2)
    module = ModelSwarm(
        str(world.base), experts=str(world.experts), objective=ExactMatch(max_new_tokens=NEW_TOKENS),
        optimizer=strategy, coefficients="expert",
    )  # fmt: skip
    fitted(module, world, tmp_path, -1, 0, listener)
    assert int(module.swarm.iterations) == 0
    for rest in listener.heard:
        assert rest is not None
        assert rest.most == 0
        assert module.state.evaluations <= rest.evaluations.likely <= (4 + 1) * examples + 3
