"""Reports the result of a run: a table on the screen and files in the run folder.

After `fit`: `summary.json`, and the same for the loggers. After `validate` and `test`: a CSV with one row per expert or
ensemble. The test split is scored here for the first time, never during the search.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.table import Table

from swarm_lightning.callbacks.logged_result import log_result
from swarm_lightning.callbacks.patience import StopOnPlateau
from swarm_lightning.evaluation.interruption import Interrupted
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.runs.run_folder import SUMMARY, free_path
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.results import ResultRow, SearchResult
from swarm_lightning.shown import cell, say, show_table

GAIN = ("gain", "gain_low", "gain_high")


class Summary(L.Callback):
    """Prints and writes the result of a search, a validation or a test."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score the best initial and the best found expert on the test split, and sum the search up.

        Not in `on_train_end`, which Lightning leaves out where a resumed search has no iteration left: it may be
        resumed just because this had failed.
        """
        assert isinstance(pl_module, ModelSwarm)
        result = pl_module.result(pl_module.held_back)
        if not trainer.is_global_zero:
            return
        folder = _made(Path(trainer.default_root_dir))
        write_whole(folder / SUMMARY, json.dumps(result.to_dict(), indent=2) + "\n")
        log_result(trainer.loggers, result)
        most = pl_module.particle_swarm.most_steps
        _print_result(result, folder, why_it_ended(trainer, result.iterations, most))

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say how to go on where a search was interrupted."""
        if (
            isinstance(exception, KeyboardInterrupt | SIGTERMException | Interrupted)
            and trainer.state.fn == "fit"
            and trainer.is_global_zero
        ):
            say(f"Interrupted. Resume with: swarm fit --resume {trainer.default_root_dir}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print and write the table of the validation split."""
        if trainer.state.fn == "validate":
            self._write_rows(trainer, pl_module, "validation")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print and write the table of the test split."""
        self._write_rows(trainer, pl_module, "test")

    def _write_rows(self, trainer: L.Trainer, module: L.LightningModule, split: str) -> None:
        assert isinstance(module, ModelSwarm)
        if not trainer.is_global_zero:
            return
        path = free_path(_made(Path(trainer.default_root_dir)) / f"{split}.csv")
        rows = module.state.rows
        compared = any(row.win_rate is not None for row in rows)
        measured = any(row.gain is not None for row in rows)
        columns = ["name", "detail", f"{split}_utility", "examples", "dataset", "objective"]
        tasks = [f"{split}_utility/{task}" for task in rows[0].parts]
        asked = [module.task, type(module.objective).__name__]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([*columns, *(["win_rate"] if compared else []), *tasks, *(GAIN if measured else [])])
        writer.writerows(
            [
                *(row.name, row.detail, row.utility, row.examples, *asked),
                *([row.win_rate] if compared else []),
                *row.parts.values(),
                *([row.gain.difference, row.gain.low, row.gain.high] if row.gain is not None else []),
            ]
            for row in rows
        )
        write_whole(path, text.getvalue())
        show_table(_table({split: rows}))
        say_gains(rows)
        say(f"Table: {path}")


def _made(folder: Path) -> Path:
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def why_it_ended(trainer: L.Trainer, iterations: int, most: int | None = None) -> str:
    """Say in a few words why a search did no further iteration.

    Args:
        trainer: Of the search.
        iterations: That it has done.
        most: That its optimizer does at most; None for any number.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, StopOnPlateau) and callback.stopped for callback in callbacks):
        return "stopped: the global best no longer rose"
    return "all done" if iterations in (trainer.max_steps, most) else "ended by a limit of the trainer"


def _print_result(result: SearchResult, folder: Path, why: str) -> None:
    splits = {"validation": result.validation, **({"test": result.test} if result.test else {})}
    show_table(_table(splits))
    say_gains(result.test)
    passes = "" if result.forward_passes is None else f" ({result.forward_passes} forward passes)"
    say(
        f"{result.iterations} iterations ({why}), {result.restarts} restarts, "
        f"{result.evaluations} evaluations{passes} in {result.seconds:.0f} s."
    )
    if result.guide:
        say(_of_guide(result.guide))
    if not result.test:
        say("No test split: the gain on unseen examples is unknown.")
    say(f"Run folder: {folder}")


def _of_guide(guide: Mapping[str, Any]) -> str:
    ranked = f"Kendall's tau {guide['kendall']:+.2f} +- {guide['error']:.2f} with {guide['objective']}"
    if not guide["followed"]:
        return f"The guide {guide['guide']} was dropped: {ranked}."
    rise = f" from {guide['before']:.4f} to {guide['after']:.4f} on validation" if "after" in guide else ""
    mixed = f", mixed half and half with {guide['objective']}" if guide["share"] < 1 else ""
    return f"Followed: {guide['guide']}{mixed}{rise} ({ranked})."


def say_gains(rows: Sequence[ResultRow]) -> None:
    """Print by how much experts are above the best initial one on the test split, and whether that is noise.

    Args:
        rows: Of the test split.
    """
    for row in rows:
        if row.gain is not None:
            say(f"Gain of the {row.name} on test, with its 95% interval: {row.gain}")


def _table(splits: dict[str, tuple[ResultRow, ...]]) -> Table:
    table = Table()
    table.add_column("")
    table.add_column("which", overflow="fold")
    for split, rows in splits.items():
        table.add_column(f"{split} ({rows[0].examples})", justify="right")
    compared = any(row.win_rate is not None for rows in splits.values() for row in rows)
    if compared:
        table.add_column("win rate", justify="right")
    for entries in zip(*splits.values(), strict=True):
        rates = ["" if entry.win_rate is None else f"{entry.win_rate:.4f}" for entry in entries[-1:] if compared]
        named = cell(entries[0].name), cell(entries[0].detail)
        table.add_row(*named, *(f"{entry.utility:.4f}" for entry in entries), *rates)
        for task in entries[-1].parts:
            table.add_row(cell(f"  {task}"), "", *(_number(entry.parts.get(task)) for entry in entries))
    return table


def _number(utility: float | None) -> str:
    return "" if utility is None else f"{utility:.4f}"
