"""The forward passes that a search reports are those that its model has done until it ended."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from swarm_lightning.callbacks import History, Summary
from swarm_lightning.search import ModelSwarm
from tests.evaluation.calls_of_models import calls_of
from tests.search.tiny_search import World, read_rows, search


class Calls(L.Callback):
    """Counts the calls of the model from the first positions to the last iteration."""

    count = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ModelSwarm)
        self._calls = calls_of([pl_module.resident().model])
        self._seen = self._calls.__enter__()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.count = len(self._seen)
        self._calls.__exit__(None, None, None)


@pytest.mark.parametrize("guide", ["objective", "smooth"])
def test_a_search_reports_the_calls_of_its_model(world: World, tmp_path: Path, guide: Any) -> None:
    calls = Calls()
    module = search(world, tmp_path, callbacks=[calls, History(), Summary()], particles=5, guide=guide)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["forward_passes"] == module.state.forward_passes == calls.count > 0
    rows = read_rows(tmp_path / "history.csv")
    assert all(float(row["forward_passes"]) > 0 for row in rows)
    if guide == "objective":
        assert sum(float(row["forward_passes"]) for row in rows) == calls.count
