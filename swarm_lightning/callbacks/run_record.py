"""Keeps `run.json`: what a run is, its versions, its progress, what it costs, and why it ended.

The file is replaced atomically after every iteration, so the folder always shows the state of the run. A killed run
still says `running`; `runs/run_record.py` tells the two apart. Of costs it has what no other file tells: the seconds of
loading (without Python's imports) and of the test, each of the latest start, and the most memory of the first rank.
While a search runs, `left` says how many `iterations` it likely has in all, and how many `seconds` are left of it,
likely and `at_most`, when that was `updated`; null where nothing limits it, and once it has ended.
"""

import json
import os
import platform
import shlex
import socket
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException

from swarm_lightning import __version__
from swarm_lightning.callbacks.forecast import rest_of
from swarm_lightning.callbacks.patience import patience_of
from swarm_lightning.callbacks.summary import why_it_ended
from swarm_lightning.errors import StorageError
from swarm_lightning.evaluation.engine.memory import peak_bytes
from swarm_lightning.evaluation.interruption import Interrupted
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.runs.run_folder import RECORD
from swarm_lightning.search.model_swarm import ModelSwarm

LIBRARIES = ("torch", "lightning", "transformers", "peft", "datasets")


class RunRecord(L.Callback):
    """Records what a search is and how far it has come."""

    def __init__(self) -> None:
        self._record: dict[str, Any] = {}
        self._path = Path(RECORD)
        self._loaded_since = time.time()
        self._tested_since: float | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin to time what comes before the search."""
        self._loaded_since = time.time()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write down what the search is, once everything of it is there."""
        assert isinstance(pl_module, ModelSwarm)
        if not trainer.is_global_zero:
            return
        self._path = Path(trainer.default_root_dir) / RECORD
        with storage_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        now = time.time()
        self._record = {
            "format": 1,
            "state": "running",
            "why": "",
            "started": _before(self._path).get("started", now),
            "updated": now,
            "iterations": int(pl_module.swarm.iterations) if pl_module.particle_swarm.begun else 0,
            "loading_seconds": now - self._loaded_since,
            **_facts(trainer, pl_module),
        }
        self._write()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Say how long it will take, as soon as that can be said."""
        assert isinstance(pl_module, ModelSwarm)
        if self._record and "left" not in self._record:
            self._say(left=_left(trainer, pl_module))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show that the search lives."""
        assert isinstance(pl_module, ModelSwarm)
        if self._record:
            self._say(iterations=int(pl_module.swarm.iterations), left=_left(trainer, pl_module))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say that the test split is next."""
        self._tested_since = time.time()
        self._say(state="testing", left=None)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say why the search ended."""
        assert isinstance(pl_module, ModelSwarm)
        done = int(pl_module.swarm.iterations)
        if not self._record and trainer.is_global_zero:  # resumed with no iteration left
            self._path = Path(trainer.default_root_dir) / RECORD
            now = time.time()
            self._record = {"format": 1, "started": now, **_before(self._path), **_facts(trainer, pl_module)}
        costs: dict[str, float] = {"peak_memory": peak_bytes(trainer.strategy.root_device)}
        if self._tested_since is not None:
            costs["test_seconds"] = time.time() - self._tested_since
        self._say(
            state="ended",
            why=why_it_ended(trainer, done, pl_module.particle_swarm.most_steps),
            iterations=done,
            **costs,
        )

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say what stopped it."""
        first = next(iter(str(exception).splitlines()), "")
        state, why = "failed", first or type(exception).__name__
        if isinstance(exception, KeyboardInterrupt | SIGTERMException | Interrupted):
            state, why = "interrupted", "it was asked to end"
        with suppress(StorageError):  # where the disk is at fault it takes no record either, and that is told already
            self._say(state=state, why=why)

    def _say(self, **news: Any) -> None:
        if self._record:
            self._record |= {**news, "updated": time.time()}
            self._write()

    def _write(self) -> None:
        write_whole(self._path, json.dumps(self._record, indent=2, default=str) + "\n")


def _left(trainer: L.Trainer, module: ModelSwarm) -> dict[str, float] | None:
    rest = rest_of(trainer, module)
    if rest is None:
        return None
    return {"iterations": rest.iterations.likely, "seconds": rest.seconds.likely, "at_most": rest.most_seconds}


def _before(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    record = json.loads(path.read_text(encoding="utf-8"))
    return record if isinstance(record, dict) else {}


def _facts(trainer: L.Trainer, module: ModelSwarm) -> dict[str, Any]:
    """Return what does not change while a search goes on, as plain values."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    splits = module.splits
    notices = getattr(getattr(trainer, "datamodule", None), "notices", [])
    optimizer = module.particle_swarm
    limits = [most for most in (optimizer.most_steps, trainer.max_steps) if most is not None and most >= 0]
    return {
        "command": shlex.join(["swarm", *sys.argv[1:]]),
        "versions": {"swarm-lightning": __version__, "python": platform.python_version(), **_versions()},
        "started_in": os.getcwd(),  # what relative paths in its config mean
        "host": socket.gethostname(),
        "device": str(trainer.strategy.root_device),
        "ranks": trainer.world_size,
        "seed": module.state.seed,
        "base": module.base,
        "experts": list(module.pool.names),
        "differences": module.pool.are_differences,
        "task": module.task,
        "objective": type(module.objective).__name__,
        "particles": module.settings.particles,
        "moves_particles": optimizer.moves_particles,
        "draws": module.settings.draws,
        "coefficients": module.settings.coefficients,
        "start": module.settings.start.kind,
        "iterations_at_most": min(limits, default=None),
        "patience": patience_of(callbacks),
        "examples": {} if splits is None else {"validation": len(splits.validation), "test": len(splits.test)},
        "notices": [{"severity": notice.severity, "message": notice.message} for notice in notices],
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # under another name, as in some builds
            found[name] = "unknown"
    return found
