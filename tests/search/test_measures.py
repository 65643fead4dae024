"""What is measured of tasks; and what callbacks watch is there, or is refused by name."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ExactMatch, MultiTask
from swarm_lightning.search.measures import names_of_metrics, parts_in, tasks_at_0
from tests.search.tiny_search import World, search

BOTH = MultiTask({"sums": ExactMatch(), "towns": ExactMatch()})
EXAMPLES = [Example(str(place), task=task) for place, task in enumerate(("sums", "towns", "towns"))]


class LogsMore(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        pl_module.log("mine", 1.0)


@pytest.mark.parametrize("watching", [EarlyStopping, ModelCheckpoint])
def test_what_no_search_measures_is_refused_before_anything_is_loaded(
    world: World, tmp_path: Path, watching: Any
) -> None:
    with pytest.raises(InputError, match=r"monitor .*, but got 'global_bst'\. Did you mean 'global_best'\?"):
        search(world, tmp_path, callbacks=[watching(monitor="global_bst")], dtype="no such type")


def test_what_others_log_is_looked_for_after_an_iteration(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"known of iteration 1, but got 'mime'\. Did you mean 'mine'\?"):
        search(world, tmp_path, callbacks=[LogsMore(), EarlyStopping(monitor="mime")])


@pytest.mark.parametrize(
    "callbacks",
    [
        [EarlyStopping(monitor="global_best", mode="max")],
        [EarlyStopping(monitor="swarm/global_best", mode="max")],
        [LogsMore(), EarlyStopping(monitor="mine")],
        [LearningRateMonitor(), EarlyStopping(monitor="lr-ParticleSwarm", patience=9)],
        [EarlyStopping(monitor="nothing", strict=False)],
    ],
)
def test_what_is_measured_can_be_watched(world: World, tmp_path: Path, callbacks: list[L.Callback]) -> None:
    logger = CSVLogger(str(tmp_path)) if isinstance(callbacks[0], LearningRateMonitor) else False
    assert int(search(world, tmp_path, callbacks=callbacks, iterations=2, logger=logger).swarm.iterations) == 2


def test_the_names_are_those_that_are_measured(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, iterations=1)
    assert list(module.state.metrics) == names_of_metrics(module.settings.particles)


def test_parts_are_known_where_everything_was_asked() -> None:
    assert parts_in(BOTH, torch.tensor([1.0, 0.5, 0.0]), EXAMPLES) == {"sums": 1.0, "towns": 0.25}
    assert parts_in(BOTH, torch.tensor([1.0, 0.5, math.nan]), EXAMPLES) == {}
    assert parts_in(ExactMatch(), torch.tensor([1.0, 0.5, 0.0]), EXAMPLES) == {}


def test_tasks_that_nobody_can_do_are_named_where_they_keep_all_utilities_at_0() -> None:
    scores = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert tasks_at_0(BOTH, torch.tensor([0.0, 0.0]), scores, EXAMPLES) == ["towns"]
    assert tasks_at_0(BOTH, torch.tensor([0.0, 0.1]), scores, EXAMPLES) == []
    # Each task is done by somebody, and both by nobody.
    scores = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert tasks_at_0(BOTH, torch.tensor([0.0, 0.0]), scores, EXAMPLES) == []
