"""One table of several tasks: methods down, tasks across, their mean with its interval, and published scores beside.

Made from the tables that comparisons and sweeps of the single tasks have left, so it can be made at any time.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from swarm_lightning.baselines.registry import METHODS
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.errors import InputError
from swarm_lightning.files import write_whole
from swarm_lightning.names import FOUND, INITIAL, SWARM
from swarm_lightning.report.run import COMPARISON, SWEEP, TASKS
from swarm_lightning.runs.run_folder import SUMMARY
from swarm_lightning.shown import in_markdown, with_interval

METHOD = "method"
MEAN, DIFFERENCE = "mean", "difference"
BEST_EXPERT = "best_expert"  # the row of a comparison that a sweep has too


@dataclass(frozen=True)
class Score:
    """A test score, or the difference of two, with its 95% interval.

    Attributes:
        value: The score.
        low: Lower end; None where there is no interval.
        high: Upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class TasksRow:
    """One method on several tasks.

    Attributes:
        method: Its name.
        title: What it is called.
        scores: Test score by task, as far as there are any.
        differences: Test score less that of the reference, by task; empty for the reference and for published scores.
        published: Whether the scores were published by others and not measured here.
    """

    method: str
    title: str
    scores: Mapping[str, Score]
    differences: Mapping[str, Score] = field(default_factory=dict)
    published: bool = False


@dataclass(frozen=True)
class TaskTable:
    """The table.

    Attributes:
        tasks: Names of the tasks, in the order of the columns.
        reference: Title of the row that the others are compared with.
        rows: From the top down.
    """

    tasks: tuple[str, ...]
    reference: str
    rows: tuple[TasksRow, ...]


def mean_of(scores: Mapping[str, Score], tasks: Sequence[str]) -> Score | None:
    """Return the mean over the tasks; None where one has no score yet.

    The examples of different tasks are independent: the distances to the ends of the intervals add up in squares.

    Args:
        scores: By task.
        tasks: Their names.

    >>> mean_of({"a": Score(0.5, 0.47, 0.53), "b": Score(0.7, 0.66, 0.74)}, ["a", "b"])  # 0.05 / 2
    Score(value=0.6, low=0.575, high=0.625)
    """
    if not tasks or any(task not in scores for task in tasks):
        return None
    own = [scores[task] for task in tasks]
    mean = fmean(score.value for score in own)
    ends = [(score.value, score.low, score.high) for score in own if score.low is not None and score.high is not None]
    if len(ends) < len(own):
        return Score(mean)
    below = math.hypot(*(value - low for value, low, _ in ends)) / len(own)
    above = math.hypot(*(high - value for value, _, high in ends)) / len(own)
    return Score(mean, round(mean - below, 12), round(mean + above, 12))


def of_comparisons(folders: Mapping[str, Path], published: Mapping[str, Mapping[str, float]]) -> TaskTable:
    """Return the table of comparisons.

    Args:
        folders: Folder of the comparison of each task; one that has no table yet is passed over.
        published: Published test score by method and task.
    """
    titles: dict[str, str] = {}
    scores: dict[str, dict[str, Score]] = {}
    differences: dict[str, dict[str, Score]] = {}
    for task, folder in folders.items():
        for row in _rows(folder / COMPARISON):
            if row["test"]:
                titles.setdefault(row[METHOD], f"{row['title']} {row['sign']}".rstrip())
                scores.setdefault(row[METHOD], {})[task] = _score(row, "test", "test")
                if row[DIFFERENCE]:
                    differences.setdefault(row[METHOD], {})[task] = _score(row, DIFFERENCE, DIFFERENCE)
    rows = [TasksRow(name, titles[name], own, differences.get(name, {})) for name, own in scores.items()]
    reference = next((row.title for row in rows if not row.differences), "the reference")
    return TaskTable(tuple(folders), reference, _with_published(rows, published))


def of_sweeps(folders: Mapping[str, Path], published: Mapping[str, Mapping[str, float]]) -> TaskTable:
    """Return the table of sweeps: the best search by validation of each, beside the best initial expert.

    Args:
        folders: Folder of the sweep of each task; one that has not ended yet is passed over.
        published: Published test score by method and task.
    """
    initial: dict[str, Score] = {}
    found: dict[str, Score] = {}
    gains: dict[str, Score] = {}
    for task, folder in folders.items():
        ended = [row for row in _rows(folder / SWEEP) if row["state"] == "ended" and row["validation_utility"]]
        best = max(ended, key=lambda row: float(row["validation_utility"]), default=None)  # the first of equals
        if best is None or not best["test_utility"]:
            continue
        initial[task], found[task] = Score(float(best["initial_test_utility"])), Score(float(best["test_utility"]))
        gain = _gain(Path(best["folder"]) / SUMMARY)
        gains[task] = Score(found[task].value - initial[task].value) if gain is None else gain
    rows = [TasksRow(BEST_EXPERT, INITIAL, initial), TasksRow(SWARM, FOUND, found, gains)]
    return TaskTable(tuple(folders), INITIAL, _with_published(rows, published))


def read_published(source: str | Mapping[str, float] | None, tasks: Sequence[str]) -> dict[str, dict[str, float]]:
    """Read published scores.

    Args:
        source: A CSV file with a column `method` and one per task, in which lines that begin with # are comments; or
            the swarm's score by task; or None.
        tasks: Names of the tasks; further columns are passed over.

    Returns:
        Score by method and task.

    Raises:
        InputError: If it can't be read as such.
    """
    if source is None:
        return {}
    if not isinstance(source, str):
        unknown = [task for task in source if task not in tasks]
        if unknown:
            raise InputError(
                f"Expected published scores of the tasks {', '.join(tasks)}, but got one of {unknown[0]!r}. Name a "
                "score as its task is named."
            )
        return {SWARM: {task: float(score) for task, score in source.items()}}
    path = Path(source).expanduser()
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if not line.startswith("#")]
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"Expected a CSV file of published scores at {source!r}, but it can't be read: {error}. Correct the path."
        ) from error
    rows = list(csv.DictReader(lines))
    columns = rows[0].keys() if rows else ()
    if METHOD not in columns or not set(tasks) & set(columns):
        raise InputError(
            f"Expected the columns {METHOD} and {', '.join(tasks)} in {source!r}, or {METHOD} and some of these tasks, "
            f"but it has {', '.join(map(str, columns)) or 'no rows'}. Name the columns as the tasks are named."
        )
    read: dict[str, dict[str, float]] = {}
    for row in rows:
        for task in tasks:
            text = (row.get(task) or "").strip()
            if text:
                read.setdefault(row[METHOD], {})[task] = _number(text, task, source)
    return read


def write_task_table(table: TaskTable, folder: Path) -> None:
    """Write `tasks.md` and `tasks.csv`.

    Args:
        table: What to write.
        folder: Where to.
    """
    write_whole(folder / "tasks.md", f"# {len(table.tasks)} tasks\n\n{markdown(table)}\n")
    text = io.StringIO()
    writer = csv.writer(text)
    totals = [f"{name}{end}" for name in (MEAN, DIFFERENCE) for end in ("", "_low", "_high")]
    writer.writerow([METHOD, "title", "published", *table.tasks, *totals])
    for row in table.rows:
        scores = [row.scores[task].value if task in row.scores else "" for task in table.tasks]
        cells = [row.method, row.title, str(row.published).lower(), *scores]
        for total in (mean_of(row.scores, table.tasks), mean_of(row.differences, table.tasks)):
            ends = ("", "", "") if total is None else (total.value, total.low, total.high)
            cells += ["" if end is None else end for end in ends]
        writer.writerow(cells)
    write_whole(folder / TASKS, text.getvalue())


def markdown(table: TaskTable) -> str:
    """Return the table as Markdown, with what it takes to read it.

    Args:
        table: What to show.
    """
    head = ["method", *map(in_markdown, table.tasks), MEAN, f"less {table.reference}"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for row in table.rows:
        scores = [f"{row.scores[task].value:.4f}" if task in row.scores else "" for task in table.tasks]
        totals = shown_mean(row, table, 4), shown_difference(row, table, 4)
        lines.append(f"| {' | '.join([row.title, *scores, *totals])} |")
    return "\n".join([*lines, "", *explained(table)])


def explained(table: TaskTable) -> list[str]:
    """Return what it takes to read the table, a sentence each."""
    found = [
        "Test scores. In brackets: 95% intervals by the bootstrap over the test examples; what other seeds would find "
        "is not in them."
    ]
    if any(row.published for row in table.rows):
        found.append("Published scores were measured by their authors, on their own models and samples.")
    return found


def shown_mean(row: TasksRow, table: TaskTable, digits: int) -> str:
    """Return a row's mean over the tasks with its interval; empty where a task has no score."""
    return _shown(mean_of(row.scores, table.tasks), digits)


def shown_difference(row: TasksRow, table: TaskTable, digits: int) -> str:
    """Return how the mean of a row differs from the reference's, `~` where that is within noise."""
    difference = mean_of(row.differences, table.tasks)
    text = _shown(difference, digits, sign="+")
    if difference is None or difference.low is None or difference.high is None:
        return text
    return f"{text} ~" if difference.low <= 0 <= difference.high else text


def _shown(score: Score | None, digits: int, sign: str = "") -> str:
    return "" if score is None else with_interval(score.value, score.low, score.high, sign, digits)


def _with_published(rows: Sequence[TasksRow], published: Mapping[str, Mapping[str, float]]) -> tuple[TasksRow, ...]:
    """Put published scores below those of the same method here; those of other methods come last."""
    titles = {name: METHODS[name](CompareSettings()).title if name in METHODS else name for name in published}
    titles |= {row.method: row.title for row in rows}
    beside = {
        name: TasksRow(
            name, f"{titles[name]}, published", {task: Score(score) for task, score in scores.items()}, published=True
        )
        for name, scores in published.items()
    }
    ordered = [one for row in rows for one in (row, beside.pop(row.method, None)) if one is not None]
    return (*ordered, *beside.values())


def _score(row: Mapping[str, str], name: str, prefix: str) -> Score:
    return Score(float(row[name]), float(row[f"{prefix}_low"]), float(row[f"{prefix}_high"]))


def _gain(path: Path) -> Score | None:
    try:
        gain = json.loads(path.read_text(encoding="utf-8"))["test"][1]["gain"]
        return Score(float(gain["difference"]), float(gain["low"]), float(gain["high"]))
    except (OSError, ValueError, KeyError, IndexError, TypeError):  # on another machine, or without an interval
        return None


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _number(text: str, task: str, source: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"Expected numbers in {source!r}, but {task} has {text!r}. Correct it.") from None
