"""Writes down what every iteration did: `history.csv` and one score table per iteration.

`history.csv` has one row per iteration, without gaps or doubles across resumes, and row 0 for the first positions.
A utility that was left open, because it could change nothing, is an empty cell; `at_least` and `at_most` say where it
lies; of a broken particle all three are -inf. `score_tables/iteration_<k>.safetensors` holds `scores` [N, M] (NaN where
nothing was asked, -inf where a particle broke), M in the order of the validation split, `utilities` [N] (NaN where left
open) and `reach` [N, 2], the lowest and the highest they can be. Whatever is reported later is made from these files.
"""

import csv
import math
import os
from pathlib import Path
from typing import Any

import lightning as L

from swarm_lightning.errors import InputError
from swarm_lightning.search.model_swarm import ModelSwarm

HISTORY = "history.csv"
SCORE_TABLES = "score_tables"


class History(L.Callback):
    """Keeps the record of the run in the run folder."""

    def __init__(self, score_tables: bool = True) -> None:
        """Choose what is written.

        Args:
            score_tables: Whether the score table [N, M] of every iteration is kept, 8 N M bytes each.
        """
        self.score_tables = score_tables
        self._path = Path(HISTORY)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse to write into the folder of another run.

        Raises:
            InputError: If a new search would write over the record of an earlier one.
        """
        self._path = Path(trainer.default_root_dir) / HISTORY
        if self._path.exists() and trainer.ckpt_path is None:
            raise InputError(
                f"Expected a new folder for a new search, but {self._path} is the record of an earlier one. "
                "Set trainer.default_root_dir to another folder, or resume with --ckpt_path."
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop the rows that a resumed search is about to write again."""
        assert isinstance(pl_module, ModelSwarm)
        if not trainer.is_global_zero or not pl_module.particle_swarm.begun or not self._path.exists():
            return
        done = int(pl_module.swarm.iterations)
        with self._path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        kept = [row for row in rows if len(row) == len(header) and int(row[0]) <= done]
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *kept])
        os.replace(temporary, self._path)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Write down the first positions before the first iteration."""
        assert isinstance(pl_module, ModelSwarm)
        if int(pl_module.swarm.iterations) == 0:
            self._record(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write down the iteration that has just ended."""
        assert isinstance(pl_module, ModelSwarm)
        self._record(trainer, pl_module)

    def _record(self, trainer: L.Trainer, module: ModelSwarm) -> None:
        if not trainer.is_global_zero:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        metrics = dict(module.metrics)
        iteration = int(metrics.pop("step"))
        new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["iteration", *metrics])
            writer.writerow([iteration, *("" if math.isnan(value) else value for value in metrics.values())])
        if self.score_tables:
            self._save_table(module, iteration)

    def _save_table(self, module: ModelSwarm, iteration: int) -> None:
        from safetensors.torch import save_file

        assert module.evaluation is not None
        folder = self._path.parent / SCORE_TABLES
        folder.mkdir(exist_ok=True)
        target = folder / f"iteration_{iteration:04d}.safetensors"
        temporary = target.with_suffix(".tmp")
        tables = {
            "scores": module.evaluation.scores,
            "utilities": module.swarm.utilities.clone(),
            "reach": module.score_memory.reach.clone(),
        }
        save_file(tables, temporary, metadata={"iteration": str(iteration)})
        os.replace(temporary, target)
