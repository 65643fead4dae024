"""The picture of a comparison: every method's test score with its 95% interval, and its validation utility."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm_lightning.baselines.absence import installed
from swarm_lightning.baselines.table import TableRow, reference_of
from swarm_lightning.files import whole_file

TEST = "test score with its 95% interval"


def draw(rows: Sequence[TableRow], title: str, path: Path) -> None:
    """Draw a comparison into a file.

    Args:
        rows: Of the table.
        title: What was compared, in words.
        path: The new image; its suffix says which kind.

    Raises:
        Absent: If matplotlib is not installed.
    """
    figure = figure_with(rows, title)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=150, format=path.suffix.removeprefix("."))


def figure_with(rows: Sequence[TableRow], title: str) -> Any:
    """Return a figure of matplotlib with the rows that have numbers, from the top down as in the table.

    Args:
        rows: Of the table.
        title: What was compared, in words.

    Raises:
        Absent: If matplotlib is not installed.
    """
    backend = installed("matplotlib.backends.backend_agg")
    figure_of = installed("matplotlib.figure").Figure
    shown = [row for row in rows if row.runs]
    figure = figure_of(figsize=(8, 1.9 + 0.32 * len(shown)), layout="constrained")
    backend.FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    heights = range(len(shown), 0, -1)
    for row, height in zip(shown, heights, strict=True):
        line = axes.plot(row.validation, height, marker="|", color="0.4", markersize=11, linestyle="", zorder=3)
        line[0].set_label("validation utility")
        if row.test is not None and row.test_low is not None and row.test_high is not None:
            reach = [[row.test - row.test_low], [row.test_high - row.test]]
            colour = "tab:blue" if row.difference is not None else "tab:red"
            dot = axes.errorbar(
                row.test, height, xerr=reach, marker="o", color=colour, capsize=3, markersize=5, linestyle=""
            )
            dot.set_label(TEST if row.difference is not None else f"{row.title}, the reference: {TEST}")
    reference = reference_of(shown)
    if reference is not None and reference.test is not None:
        axes.axvline(reference.test, color="tab:red", linewidth=0.7, linestyle=":")
    axes.set_yticks(list(heights), [row.signed for row in shown])
    axes.set_xlabel("utility, higher is better")
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title.replace("$", r"\$"), fontsize=11)  # no mathematics in the name of a task
    labels = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each once
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=1, fontsize=8, frameon=False)
    return figure
