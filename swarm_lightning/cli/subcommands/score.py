"""The subcommand `score`: what the base and the experts score by themselves, before any search."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.box import SIMPLE_HEAD
from rich.table import Table

from swarm_lightning.cli.printing import without_remarks
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.interruption import Interrupted
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.plan.alone import AloneRow, ScoreAlone, SplitScore, check_asked
from swarm_lightning.runs.run_folder import SCORES, free_path
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.shown import cell, say, show_table

PART = ".part"  # behind the name of the table: a folder of scores until it is written


def run_score(
    trainer: L.Trainer,
    sibling: Callable[..., L.Trainer],
    search: ModelSwarm,
    data: L.LightningDataModule,
    out: str | None,
) -> None:
    """Score everything, show the table and write it down.

    Args:
        trainer: The command's.
        sibling: Gives a trainer like it; see `SwarmTrainer.sibling`.
        search: The search that would begin; it is not set up.
        data: Its data.
        out: Where the table is written as CSV; None for the run folder.

    Raises:
        InputError: If anything that the user gave can't be used.
    """
    check_asked(search.settings)
    path = free_path(Path(trainer.default_root_dir) / SCORES) if out is None else Path(out)
    if path.exists():
        raise InputError(f"Expected a new file, but {str(path)!r} exists. Choose another one with --out.")
    given: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    bars = [callback for callback in given if isinstance(callback, ProgressBar)]
    search.trainer, trainer.datamodule = trainer, data  # type: ignore[attr-defined]  # which objective fits, the data say
    module = ScoreAlone(search.settings, search.objective)
    module.keep_scores(path.with_name(path.name + PART))
    try:
        with without_remarks():
            own = sibling(
                Path(trainer.default_root_dir), bars, enable_progress_bar=bool(bars), enable_checkpointing=False
            )
            own.validate(module, datamodule=data)
    except (KeyboardInterrupt, SystemExit, Interrupted, SIGTERMException):  # Lightning makes an exit of Ctrl-C
        rank_zero_only(say)(f"Interrupted. To resume, run the same command with --out {path}")
        raise
    splits = data.splits  # type: ignore[attr-defined]
    if module.ranks.index == 0:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, as_csv(module.rows, (len(splits.validation), len(splits.test)), splits.name))
    module.forget_scores()
    if module.ranks.index > 0:
        return
    show(module.rows, (len(splits.validation), len(splits.test)))
    for hint in module.hints:
        say(f"Hint: {hint}")
    say(f"Scores: {path}")


def show(rows: Sequence[AloneRow], examples: tuple[int, int]) -> None:
    """Print the table.

    Args:
        rows: In their order.
        examples: Number of validation and of test examples.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("", overflow="fold")
    for split, count in zip(("validation", "test"), examples, strict=True):
        if count:
            table.add_column(f"{split} ({count})", justify="right", no_wrap=True)
            table.add_column("95% interval", justify="right", no_wrap=True)
    for row in rows:
        scores = [row.validation, *([] if row.test is None else [row.test])]
        table.add_row(cell(row.name), *(text for score in scores for text in _cells(score)))
        for task in row.validation.parts:
            parts = [score.parts.get(task) for score in scores]
            table.add_row(
                cell(f"  {task}"), *(text for part in parts for text in ("" if part is None else f"{part:.4f}", ""))
            )
    show_table(table)


def _cells(score: SplitScore) -> tuple[str, str]:
    return f"{score.utility:.4f}", f"{score.low:.4f}, {score.high:.4f}"


def as_csv(rows: Sequence[AloneRow], examples: tuple[int, int], dataset: str) -> str:
    """Return the table as CSV: a row for every model, and for every split its score, interval and tasks.

    Args:
        rows: In their order.
        examples: Number of validation and of test examples.
        dataset: Name of the data.
    """
    names = [name for name, count in zip(("validation", "test"), examples, strict=True) if count]
    tasks = list(rows[0].validation.parts)
    header = ["name", "kind", "dataset"]
    for name in names:
        header += [name, f"{name}_low", f"{name}_high", f"{name}_examples", *(f"{name}/{task}" for task in tasks)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    for row in rows:
        values: list[object] = [row.name, row.kind, dataset]
        for score, count in zip((row.validation, row.test), examples, strict=True):
            if score is not None:
                values += [score.utility, score.low, score.high, count, *(score.parts.get(task, "") for task in tasks)]
        writer.writerow(values)
    return text.getvalue()
