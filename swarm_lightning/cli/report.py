"""`swarm report`: one self-contained page of a run, or of several side by side, from the files in their folders."""

from collections.abc import Sequence
from pathlib import Path

from swarm_lightning.cli.plain_parser import PlainParser
from swarm_lightning.report.page import write_figures, write_page
from swarm_lightning.report.run import open_run
from swarm_lightning.runs.run_folder import PAGE
from swarm_lightning.shown import say

DESCRIPTION = "Write a page of runs: what was found, the climb, who answers what, the map, what the best is made of."


def report(arguments: Sequence[str]) -> None:
    """Write the page.

    Args:
        arguments: Those behind `swarm report`.

    Raises:
        InputError: If a folder is no run, or the library that draws is not installed.
        StorageError: If the page can't be written.
    """
    parser = PlainParser("swarm report", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a fit, a comparison or a sweep")
    parser.add_argument("--out", help=f"the page; {PAGE} in the first run folder if it is left out")
    parser.add_argument("--figures", help="folder for every figure as SVG and PNG, and its numbers as CSV")
    given = parser.parse_args(list(arguments))
    runs = [open_run(folder) for folder in given.runs]
    path = Path(given.out) if given.out else runs[0].folder / PAGE
    write_page(runs, path)
    say(f"Page: {path}")
    if given.figures:
        say(f"Figures: {len(write_figures(runs, Path(given.figures)))} files in {given.figures}")
