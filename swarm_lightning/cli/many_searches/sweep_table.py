"""The table of a sweep on a terminal: its searches with what they drew, the best by validation first."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from swarm_lightning.shown import cell, show_table
from swarm_lightning.sweep.report import TrialRow, ranked
from swarm_lightning.sweep.space import DrawnSpace, names

MOST = 10  # rows; sweep.md has them all


def show(rows: Sequence[TrialRow], space: DrawnSpace) -> None:
    """Print the best searches.

    Args:
        rows: All trials.
        space: What was drawn.
    """
    named = names(space)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("trial", "state"):
        table.add_column(name)
    for name in ("validation", "test"):
        table.add_column(name, justify="right")
    for name in named.values():
        table.add_column(cell(name), overflow="fold")
    for row in ranked(rows)[:MOST]:
        scores = ["" if score is None else f"{score:.4f}" for score in (row.validation, row.test)]
        drawn = [cell(str(row.settings.get(key, ""))) for key in space]
        table.add_row(str(row.number), row.state, *scores, *drawn)
    show_table(table)
