"""`swarm runs`: lists the runs below a folder, or ranks the particles of one run."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from swarm_lightning.cli.parsing.plain_parser import PlainParser
from swarm_lightning.errors import InputError
from swarm_lightning.runs.listing import ListedRun, is_run, list_runs, rank_particles
from swarm_lightning.shown import cell, say, show_table, with_interval

DESCRIPTION = "List the runs in a folder with their states and scores, or rank the particles of a run by personal best."
ROOT = "runs"
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def show_runs(words: Sequence[str]) -> None:
    """Print a table of runs, or of the particles of one run.

    Args:
        words: Of the command line, behind `swarm runs`.

    Raises:
        InputError: If there are no runs, or what is said can't be understood.
    """
    parser = PlainParser("swarm runs", description=DESCRIPTION)
    parser.add_argument(
        "folder",
        nargs="?",
        default=ROOT,
        type=Path,
        help=f"a folder that contains runs, or a run folder (default: {ROOT})",
    )
    folder: Path = parser.parse_args(words).folder
    if is_run(folder):
        _print_particles(folder)
        return
    runs = list_runs(folder)
    if not runs:
        raise InputError(f"Expected runs below {str(folder)!r}, but there are none. Start one with `swarm fit`.")
    show_table(_table(runs, time.time()))


def _table(runs: Sequence[ListedRun], now: float) -> Table:
    table = Table()
    for name in ("run", "state"):
        table.add_column(name, overflow="fold")
    for name in ("iterations", "validation", "test"):
        table.add_column(name, justify="right")
    table.add_column("gain on test, 95% interval", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    for run in runs:
        table.add_row(
            *(cell(str(run.folder)), run.state, str(run.iterations), _number(run.validation), _number(run.test)),
            *(cell(_gain(run)), age(now - run.changed)),
        )
    return table


def _gain(run: ListedRun) -> str:
    if run.gain is None:
        return ""
    return f"{with_interval(*run.gain, '+')}{': noise' if run.within_noise else ''}"


def _print_particles(folder: Path) -> None:
    ranked = rank_particles(folder)
    table = Table()
    for name in ("rank", "particle", "personal best", "found in iteration"):
        table.add_column(name, justify="right")
    for rank, one in enumerate(ranked, start=1):
        table.add_row(str(rank), str(one.particle), f"{one.utility:.4f}", str(one.iteration))
    show_table(table)
    say(f"Export one: swarm export {folder} --particle {ranked[0].particle}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def age(seconds: float) -> str:
    """Return a time span in one unit.

    >>> age(7300), age(59), age(3 * 86400)
    ('2 h', '59 s', '3 d')
    """
    for length, unit in UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"
