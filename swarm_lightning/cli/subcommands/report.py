"""`swarm report`: one self-contained page of a run, or of several side by side, from the files in their folders."""

from collections.abc import Sequence
from pathlib import Path

from swarm_lightning.cli.parsing.plain_parser import PlainParser
from swarm_lightning.report.page import write_figures, write_page
from swarm_lightning.report.run import open_run
from swarm_lightning.runs.run_folder import PAGE
from swarm_lightning.shown import say

DESCRIPTION = "Write a report page of runs: results, progress, answers by expert, a map, and what the best is made of."


def report(arguments: Sequence[str]) -> None:
    """Write the page.

    Args:
        arguments: Those behind `swarm report`.

    Raises:
        InputError: If a folder is no run, or the library that draws is not installed.
        StorageError: If the page can't be written.
    """
    parser = PlainParser("swarm report", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder of fit, compare or sweep")
    parser.add_argument("--out", help=f"file of the page (default: {PAGE} in the first run folder)")
    parser.add_argument("--figures", help="folder for the figures as SVG and PNG, and their data as CSV")
    given = parser.parse_args(list(arguments))
    runs = [open_run(folder) for folder in given.runs]
    path = Path(given.out) if given.out else runs[0].folder / PAGE
    write_page(runs, path)
    say(f"Page: {path}")
    if given.figures:
        say(f"Figures: {len(write_figures(runs, Path(given.figures)))} files in {given.figures}")
