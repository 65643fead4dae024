"""The subcommand `compare`: the parts of a search, opened once, and lent to every method in turn.

What the methods do is in `baselines/`. Here is what needs a trainer: loading and checking everything as `swarm fit`
does, and the ordinary search of every seed, each in a run folder of its own.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.box import SIMPLE_HEAD
from rich.table import Table

from swarm_lightning.baselines.comparison import Comparison
from swarm_lightning.baselines.registry import chosen_methods
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.baselines.table import TableRow, legend_of, passes_of, reference_of
from swarm_lightning.callbacks import (
    ExportBest,
    History,
    OrderlyEnd,
    Replies,
    RestartStagnant,
    StopOnPlateau,
    SwarmCheckpoint,
)
from swarm_lightning.callbacks.progress import MethodProgress, SwarmProgress
from swarm_lightning.cli.printing import without_remarks
from swarm_lightning.cli.save_config import SaveConfig
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.interruption import Interrupted
from swarm_lightning.report.live import Renewal, renew
from swarm_lightning.runs.run_folder import CHECKPOINTS, COMPARISON, LAST, SEARCHES
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.shown import say, show_table


def comparison_folder(output: str | None, root: str, mark: str = COMPARISON) -> Path | None:
    """Return the folder that a comparison writes to; None where it gets a new one.

    Args:
        output: `compare.output`.
        root: `trainer.default_root_dir`.
        mark: What tells the folder of a comparison from others: a file in it, as a pattern.

    Raises:
        InputError: If the newest comparison is wanted and there is none.
    """
    if output is None:
        return None
    if output != "last":
        return Path(output)
    found = [folder for folder in Path(root).glob("version_*") if any(folder.glob(mark))]
    if not found:
        raise InputError(
            f"Expected a comparison below {root!r} (trainer.default_root_dir) for --compare.output last, but there is "
            "none. Leave compare.output out to start one, or give its folder."
        )
    return max(found, key=lambda folder: int(folder.name.removeprefix("version_")))


def run_comparison(
    trainer: L.Trainer,
    sibling: Callable[..., L.Trainer],
    module: ModelSwarm,
    data: L.LightningDataModule,
    settings: CompareSettings,
) -> None:
    """Open everything, run all methods, and show the table.

    Args:
        trainer: The command's.
        sibling: Gives every search a sibling of it; see `SwarmTrainer.sibling`.
        module: The search, not set up yet.
        data: Its data.
        settings: Of the comparison.

    Raises:
        InputError: If anything that the user gave can't be used.
    """
    chosen_methods(settings)  # refuses what can't be meant
    module.check_in_memory()
    folder = Path(trainer.default_root_dir)
    given: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    # Those that score the test split or write what a single search leaves do not go along.
    followers = [callback for callback in given if isinstance(callback, _FOLLOWERS) or _is_users(callback)]

    def search(seed: int) -> None:
        run = folder / SEARCHES / f"seed_{seed}"
        checkpoint = run / CHECKPOINTS / LAST
        L.seed_everything(seed, verbose=False)
        with without_remarks():
            own = sibling(run, copy.deepcopy(followers))
            own.fit(module, datamodule=data, ckpt_path=str(checkpoint) if checkpoint.is_file() else None)

    try:
        with without_remarks():  # no iteration: the ranks meet, and everything is loaded and checked as for a search
            sibling(folder, [], max_steps=0, enable_progress_bar=False).fit(module, datamodule=data)
        module.release_swarm()
        splits = data.splits  # type: ignore[attr-defined]
        for callback in given:
            if isinstance(callback, SaveConfig):
                callback.on_fit_start(trainer, module)
        module.prepare(splits.validation)
        protocol = _protocol(trainer, followers)
        renewal, bar = Renewal(), next((callback for callback in given if isinstance(callback, SwarmProgress)), None)
        shown = None if bar is None or module.ranks.index else MethodProgress(bar.every_seconds)

        def watch(title: str, budget: int | None) -> None:
            if shown is not None:
                shown.start(title, budget)
                module.watch(shown)  # a search before has ended by watching itself no longer

        def tell(line: str) -> None:
            if shown is not None:
                shown.stop()
            rank_zero_only(say)(line)

        comparison = Comparison(
            module, splits.validation, splits.test, settings, folder, protocol, search, tell,
            lambda: renewal.renew(folder, going_on=True) if renewal.due else None, watch,
        )  # fmt: skip
        try:
            rows = comparison.run()
        finally:
            if shown is not None:
                shown.stop()
    except (KeyboardInterrupt, SystemExit, Interrupted, SIGTERMException):  # Lightning makes an exit of Ctrl-C
        _tell_how_to_go_on(folder)
        raise
    if module.ranks.index == 0:
        show(rows, folder)
        renew(folder)


def show(rows: list[TableRow], folder: Path) -> None:
    """Print the table.

    Args:
        rows: Of the table.
        folder: Where it was written to.
    """
    reference = reference_of(rows)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)  # narrow
    name = "reference" if reference is None else reference.title.replace(" ", "\n")
    table.add_column("", no_wrap=True)
    for column in ("validation", "test", "95% interval", f"less\n{name}", "asked", "passes", "s"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        if not row.runs:
            continue
        test = ["", "", ""]
        if row.test is not None:
            less = "" if row.difference is None else f"{row.difference:+.3f} {'~' if row.within_noise else ' '}"
            test = [f"{row.test:.3f}", f"{row.test_low:.3f}, {row.test_high:.3f}", less]
        cost = [str(row.evaluations), passes_of(row), f"{row.seconds:.1f}"]
        table.add_row(row.signed, f"{row.validation:.3f}", *test, *cost)
    show_table(table)
    if any(row.within_noise for row in rows):
        say("~ within noise: the 95% interval of the paired difference contains 0.")
    for line in legend_of([row for row in rows if row.runs]):
        say(line)
    for row in rows:
        if row.absent:
            say(f"{row.title} is absent: {row.absent}")
    say(f"Comparison: {folder}")


_FOLLOWERS = (OrderlyEnd, RestartStagnant, StopOnPlateau, SwarmCheckpoint, History, ProgressBar)


def _is_users(callback: L.Callback) -> bool:
    """Tell whether a callback is one that the user has added, and not one of the command or of Lightning."""
    own = isinstance(callback, ExportBest | Replies | SaveConfig)
    return not own and not type(callback).__module__.startswith(("lightning.", "swarm_lightning."))


def _protocol(trainer: L.Trainer, callbacks: list[L.Callback]) -> dict[str, object]:
    """Return what decides how a search goes and is no part of the module, as plain values."""
    found: dict[str, object] = {"trainer.max_steps": trainer.max_steps}
    for callback in callbacks:
        if isinstance(callback, RestartStagnant):
            found |= callback.state_dict()
        elif isinstance(callback, StopOnPlateau):
            found["stop.patience"] = callback.patience
    return found


@rank_zero_only
def _tell_how_to_go_on(folder: Path) -> None:
    say(f"Interrupted. Resume with --compare.output {folder}")
