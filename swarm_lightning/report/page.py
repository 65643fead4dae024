"""Makes one page of one run or several: a file that needs nothing else, and no network.

Whatever comes from users, models or data is text: it is escaped in HTML, and stands as JSON in scripts.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.report.examples import tasks_table, wins
from swarm_lightning.report.figure import Figure
from swarm_lightning.report.figures import OF_RUN
from swarm_lightning.report.graphs import OF_GRAPHS, changed_replies, who_answers_whom
from swarm_lightning.report.lacking import all_drawn, note, shown
from swarm_lightning.report.run import Run
from swarm_lightning.report.score_figures import OF_SCORES
from swarm_lightning.report.sections import (
    comparison_of_tasks,
    comparison_table,
    diamonds,
    emerging,
    files_and_commands,
    lead,
    sweep_table,
    under_way,
)
from swarm_lightning.report.so_far import methods_so_far, runs_so_far
from swarm_lightning.report.sweep_figures import OF_SWEEP
from swarm_lightning.report.vega import embedded, png, require, script, svg

LARGEST = 3_000_000
REFRESH = 10  # seconds between two looks of an open page at a run that lives
MAKERS = (*OF_RUN, methods_so_far, *OF_SCORES, *OF_GRAPHS, *OF_SWEEP)


def render(runs: Sequence[Run], folder: Path, going_on: bool = False) -> str:
    """Return the page.

    Args:
        runs: What it shows, one or more.
        folder: Where it will lie; a sweep's page in the sweep's own folder leads to those of its searches.
        going_on: Whether it is of several searches that go on; of a single one its files tell.

    Raises:
        InputError: If the library that draws is not installed, or a file of a run is damaged.
    """
    require()
    bodies: list[str] = []
    specs: dict[str, Any] = {}
    room = (LARGEST - 1_200_000) // max(1, len(runs))  # without the script
    for place, run in enumerate(runs):
        figures, left_out = all_drawn(MAKERS, run)
        ids = {figure.name: f"{figure.name}_{place}" for figure in figures}
        specs |= {ids[figure.name]: figure.spec for figure in figures}
        used = len(embedded({figure.name: figure.spec for figure in figures}))
        placed = {figure.name: _placed(figure, ids[figure.name]) for figure in figures}
        bodies.append(_body(run, placed, left_out, room - used, folder, going_on))
    if len(runs) > 1:
        together = runs_so_far(runs)
        specs |= {} if together is None else {together.name: together.spec}
        drawn = "" if together is None else _placed(together, together.name)
        bodies.insert(0, f"{diamonds(runs)}\n{drawn}")
    lives = going_on or any(run.record.get("state") in ("running", "testing") for run in runs)
    parts = {
        "title": html.escape(", ".join(run.name for run in runs)),
        "refresh": f'<meta http-equiv="refresh" content="{REFRESH}">' if lives else "",
        "body": "\n".join(bodies),
        "script": script(),
        "figures": embedded(specs),
    }
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.substitute(parts).encode("utf-8", "backslashreplace").decode()


def write_page(runs: Sequence[Run], path: Path, going_on: bool = False) -> None:
    """Write the page, whole or not at all.

    Args:
        runs: What it shows.
        path: The file.
        going_on: See `render`.

    Raises:
        InputError: As `render`.
        StorageError: If it can't be written.
    """
    text = render(runs, path.parent, going_on)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def write_figures(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write every figure as SVG and PNG, and the numbers behind it as CSV.

    Args:
        runs: Whose.
        folder: Where to; made if it is not there.

    Returns:
        The files.

    Raises:
        InputError: If the library that draws is not installed.
        StorageError: If a file can't be written.
    """
    require()
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    together = runs_so_far(runs) if len(runs) > 1 else None
    named = {} if together is None else {together.name: together}
    for place, run in enumerate(runs):
        figures, _ = all_drawn(MAKERS, run)
        named |= {figure.name if len(runs) == 1 else f"{figure.name}_{place}": figure for figure in figures}
    written = []
    for name, figure in named.items():
        contents = {".svg": svg(figure.spec), ".png": png(figure.spec), ".csv": figure.data.to_csv(index=False)}
        for suffix, content in contents.items():
            written.append(folder / f"{name}{suffix}")
            write_whole(written[-1], content)
    return written


def _body(run: Run, figures: dict[str, str], left_out: Sequence[str], room: int, folder: Path, going_on: bool) -> str:
    """Return what the page says of one run, the most important first."""
    parts = [
        f"<h1>{html.escape(run.name)}</h1>",
        shown(lead, run),
        shown(under_way, run) if going_on else "",
        *(note(text) for text in left_out),
        figures.get("forest", ""),
        figures.get("so_far", ""),
        shown(comparison_table, run),
        shown(comparison_of_tasks, run, folder),
        *(figures.get(name, "") for name in ("by_setting", "times", "trials", "importance", "settings")),
        shown(sweep_table, run, folder),
        figures.get("climb", ""),
        figures.get("by_objective", ""),
        figures.get("tasks", ""),
        shown(tasks_table, run),
        figures.get("map", ""),
        figures.get("diversity", ""),
        figures.get("made_of", ""),
        shown(who_answers_whom, run),
        figures.get("contributions", ""),
        figures.get("on_the_way", ""),
        shown(changed_replies, run, room // 4),
        shown(emerging, run, room - room // 4),
        figures.get("distribution", ""),
        shown(wins, run),
        figures.get("scores", ""),
        shown(files_and_commands, run),
    ]
    return "\n".join(part for part in parts if part)


def _placed(figure: Figure, name: str) -> str:
    title, note = html.escape(figure.title), html.escape(figure.note)
    return f'<h2>{title}</h2>\n<p class="note">{note}</p>\n<div class="figure" id="{name}"></div>'
