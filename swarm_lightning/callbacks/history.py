"""Records every iteration: `history.csv`, and one score table per iteration.

`history.csv` has one row per iteration, without gaps or duplicates across resumes, and row 0 for the first positions.
A utility that was left open, because it could not matter, is an empty cell; `at_least` and `at_most` are its bounds;
for a broken particle all three are -inf. `score_tables/iteration_<k>.safetensors` holds `scores` [N, M] (NaN where
nothing was asked, -inf where a particle broke), M in the order of the validation split, `utilities` [N] (NaN where left
open) and `reach` [N, 2], the lowest and the highest they can be. For an evolution strategy, a row has the mean and
the spread of its candidates' utilities, and candidates take the place of particles. All these are by the guide where
one is followed; `score_tables/by_objective.safetensors` then holds what the objective says: `experts` [n, M] before the
search and, once it has ended, `found` [M] of what it has found.

`history.parquet` has the same in long form; see `runs/long_history.py`. `sketches/iteration_<k>.safetensors` holds a
few numbers of every position, `positions` [N, S], where particles move, and of the best found, `found` [S]
(`swarm/space.py`: `sketch_of`), and where positions are coefficients of the experts, those of the best found,
`coefficients` [n, G]. Whatever is reported later is made from these files.
"""

import csv
import io
import math
import os
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from swarm_lightning.errors import InputError, StorageError
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.runs.long_history import LongHistory
from swarm_lightning.runs.run_folder import (
    BY_OBJECTIVE,
    HISTORY,
    LONG_HISTORY,
    SCORE_TABLES,
    SKETCHES,
    has_iterations,
    iterations_of,
    of_iteration,
)
from swarm_lightning.search.model_swarm import ModelSwarm


class History(L.Callback):
    """Keeps the record of the run in the run folder."""

    def __init__(self, score_tables: bool = True, sketches: bool | None = None) -> None:
        """Choose what is recorded.

        Args:
            score_tables: Whether to keep the score table [N, M] of every iteration, 8 N M bytes each.
            sketches: Whether to keep a sketch of every position, 540 N bytes per iteration; null: only if the swarm is
                in memory, because it takes one pass over all positions.
        """
        self.score_tables = score_tables
        self.sketches = sketches
        self._path = Path(HISTORY)
        self._written = False  # whether this process has written a row
        self._long = LongHistory(Path(LONG_HISTORY))
        self._restarts: list[int] = []  # of every particle, before the running iteration

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse to write into the folder of another run.

        Raises:
            InputError: If a new search would write over the record of an earlier one.
        """
        self._path = Path(trainer.default_root_dir) / HISTORY
        self._written = False
        self._long, self._restarts = LongHistory(self._path.with_name(LONG_HISTORY)), []
        if trainer.ckpt_path is None and has_iterations(self._path.parent):
            raise InputError(
                f"Expected a new folder for a new search, but {self._path} is the record of an earlier one. "
                "Set trainer.default_root_dir to another folder, or resume with --ckpt_path."
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop what the search is about to write again."""
        assert isinstance(pl_module, ModelSwarm)
        if pl_module.particle_swarm.begun:
            self._restarts = pl_module.swarm.restarts.tolist()
        if not trainer.is_global_zero or not self._path.exists():
            return
        self._save_by_objective(pl_module)
        with storage_errors(self._path):
            if not pl_module.particle_swarm.begun:
                self._path.unlink()
                self._long.path.unlink(missing_ok=True)
                return
            done = int(pl_module.swarm.iterations)
            with self._path.open(newline="", encoding="utf-8") as file:
                header, *rows = list(csv.reader(file))
            kept = [row for row in rows if len(row) == len(header) and int(row[0]) <= done]
            write_whole(self._path, _lines([header, *kept]))
            for kind in (SCORE_TABLES, SKETCHES):
                for iteration, path in iterations_of(self._path.parent, kind).items():
                    if iteration > done:
                        path.unlink()
            if pl_module.particle_swarm.moves_particles:
                self._long.keep(done, self._path)
                self._long.save()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write down the first positions before they are saved."""
        assert isinstance(pl_module, ModelSwarm)
        if int(pl_module.swarm.iterations) == 0 and pl_module.state.evaluation is not None:
            self._record(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write down the iteration that has just ended."""
        assert isinstance(pl_module, ModelSwarm)
        self._record(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sketch the best found anew where it was chosen after the last iteration had been written down.

        What the objective says of it is written down too.
        """
        assert isinstance(pl_module, ModelSwarm)
        if trainer.is_global_zero:
            self._save_by_objective(pl_module)
        if trainer.is_global_zero and self._written and pl_module.particle_swarm.chosen and self._sketches(pl_module):
            self._save_sketches(pl_module, int(pl_module.swarm.iterations))

    def _sketches(self, module: ModelSwarm) -> bool:
        return module.settings.storage == "memory" if self.sketches is None else self.sketches

    def _record(self, trainer: L.Trainer, module: ModelSwarm) -> None:
        if not trainer.is_global_zero:
            return
        metrics = dict(module.state.metrics)
        iteration = int(metrics.pop("step"))
        row = [iteration, *("" if math.isnan(value) else value for value in metrics.values())]
        with storage_errors(self._path):
            if not self._written:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            elif not self._path.exists():
                raise StorageError(
                    f"Expected to add iteration {iteration} to {str(self._path)!r}, but it has vanished. Bring it "
                    "back, or mount its disk again: then resume with --ckpt_path."
                )
            header = [] if self._path.exists() else [["iteration", *metrics]]
            with self._path.open("a", newline="", encoding="utf-8") as file:
                file.write(_lines([*header, row]))
                file.flush()
                os.fsync(file.fileno())  # a checkpoint must not come to the disk without its row
        self._written = True
        if module.particle_swarm.moves_particles:
            self._add_long(module, iteration)
        if self._sketches(module):
            self._save_sketches(module, iteration)
        if self.score_tables:
            self._save_table(module, iteration)
        if iteration == 0:
            self._save_by_objective(module)

    def _add_long(self, module: ModelSwarm, iteration: int) -> None:
        swarm, reach = module.swarm, module.state.scores.reach
        restarts = swarm.restarts.tolist()
        before, self._restarts = self._restarts or restarts, restarts
        particles = {
            "utility": swarm.utilities.tolist(),
            "at_least": reach[:, 0].tolist(),
            "at_most": reach[:, 1].tolist(),
            "personal_best": swarm.personal_best_utilities.tolist(),
            "restarted": [now > then for now, then in zip(restarts, before, strict=True)],
        }
        self._long.add(iteration, particles)
        self._long.save()

    def _save_sketches(self, module: ModelSwarm, iteration: int) -> None:
        optimizer = module.particle_swarm
        space, found = optimizer.space, optimizer.found
        numbers = {"found": space.sketch(found[None])[0]}
        if optimizer.moves_particles:
            numbers["positions"] = space.sketch(optimizer.positions)
        coefficients = module.shares_of(found)
        if coefficients.numel():
            numbers["coefficients"] = coefficients.double().cpu().contiguous()
        self._save_iteration(SKETCHES, iteration, numbers)

    def _save_table(self, module: ModelSwarm, iteration: int) -> None:
        state, optimizer = module.state, module.particle_swarm
        assert state.evaluation is not None
        # What is known of particles stays as it was where other candidates were asked.
        own = not optimizer.asks_particles
        tables = {
            "scores": state.evaluation.scores,
            "utilities": (state.evaluation.utilities if own else optimizer.swarm.utilities).clone(),
            "reach": (state.evaluation.reach if own else state.scores.reach).clone(),
        }
        self._save_iteration(SCORE_TABLES, iteration, tables)

    def _save_by_objective(self, module: ModelSwarm) -> None:
        """Write down what the objective says of the experts and of what was found, where the tables are by a guide."""
        state, path = module.state, self._path.parent / SCORE_TABLES / BY_OBJECTIVE
        if not self.score_tables or not state.guided or not state.reported_scores.numel():
            with storage_errors(path):
                path.unlink(missing_ok=True)
            return
        tables = {"experts": state.reported_scores[: len(module.pool.names)].clone()}
        if module.particle_swarm.chosen and state.found_scores.numel():
            tables["found"] = state.found_scores
        _save_tensors(path, tables)

    def _save_iteration(self, kind: str, iteration: int, tensors: dict[str, Tensor]) -> None:
        _save_tensors(of_iteration(self._path.parent, kind, iteration), tensors, {"iteration": str(iteration)})


def _save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    from safetensors.torch import save

    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
    write_whole(path, save(tensors, metadata=metadata))


def _lines(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
