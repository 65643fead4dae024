"""Finished searches of a study, the file that keeps them, and the tables that are made of them.

What runs them is in `search_study.py`. Nothing here loads a model.
"""

import json
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from measuring import table
from swarm_lightning.names import SWARM

Over = Literal["evaluations", "examples"]


@dataclass(frozen=True)
class Search:
    """One finished search, a line of the file that keeps them.

    Attributes:
        world: Name of the world.
        task: Name of the task.
        method: Name of the method.
        title: What the table calls it.
        seed: Seed; None for a method without random numbers.
        budget: (model, example) pairs that it might ask; None where nothing limits it.
        validation: Utility on the validation split, in points.
        test: Mean score on the test split, in points.
        evaluations: Pairs that it has asked.
        seconds: Time that took, on a machine that may have been busy.
        examples: Validation examples that were drawn for its seed; None for the task's own validation split.
    """

    world: str
    task: str
    method: str
    title: str
    seed: int | None
    budget: int | None
    validation: float
    test: float
    evaluations: int
    seconds: float
    examples: int | None = None

    @property
    def key(self) -> tuple[str, str, str, int | None, int | None, int | None]:
        """What it is known by."""
        return self.world, self.task, self.method, self.seed, self.budget, self.examples


def read_kept(path: Path) -> list[Search]:
    """Return the searches that a file keeps; none where there is no file.

    Raises:
        ValueError: If a line is no search.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [Search(**json.loads(line)) for line in lines if line]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected a finished search on every line of '{path}', but: {error}. Mend or remove it."
        ) from error


def cells_of(searches: Iterable[Search], seeds: int) -> dict[str, dict[tuple[str, int], Search]]:
    """Sort searches by method and cell.

    Args:
        searches: Of one world and one budget.
        seeds: Number of seeds, counted from 0: a method without random numbers stands in all of them.

    Returns:
        Method -> (task, seed) -> search.
    """
    cells: dict[str, dict[tuple[str, int], Search]] = {}
    for search in searches:
        for seed in range(seeds) if search.seed is None else [search.seed]:
            if seed < seeds:
                cells.setdefault(search.method, {})[search.task, seed] = search
    return cells


def paired(one: Mapping[Any, Search], other: Mapping[Any, Search]) -> dict[str, float]:
    """Return the mean difference of two methods' test scores over the cells that both have, with its 95% interval.

    Args:
        one: Cell -> search.
        other: The same of the method that is taken off.
    """
    differences = [one[cell].test - other[cell].test for cell in one if cell in other]
    return {"cells": len(differences), **(gain_of(differences) if differences else {})}


def gain_of(differences: Sequence[float]) -> dict[str, float]:
    """Return the mean of differences, `gain`, and its 95% bootstrap interval, `low` and `high`.

    Args:
        differences: One or more, of pairs that the bootstrap draws from.

    >>> gain_of([2.0, 2.0])
    {'gain': 2.0, 'low': 2.0, 'high': 2.0}
    """
    generator = random.Random(0)
    means = sorted(statistics.mean(generator.choices(differences, k=len(differences))) for _ in range(10_000))
    return {"gain": statistics.mean(differences), "low": means[250], "high": means[-250]}


def summarise(cells: Mapping[str, Mapping[tuple[str, int], Search]], tasks: Sequence[str]) -> dict[str, Any]:
    """Return means, spread, paired differences, and how often each method is first.

    Args:
        cells: What `cells_of` returned.
        tasks: In the order of the table.

    Returns:
        Method -> `title`, `cells`, `tests` (task -> mean in points, of the tasks that it has), `mean` of these,
        `spread` (standard deviation over the seeds, mean over the tasks; None for one seed), `validation`,
        `evaluations` and `seconds` (means), `first` (of the cells that all methods have, those in which no other is
        above it; equals share one), `compared` (how many those are), `to_swarm` (paired difference to the published
        swarm), `best_other` (the method with the highest mean of all others) and `to_best_other`.
    """
    everywhere = set.intersection(*(set(had) for had in cells.values()))
    summary: dict[str, Any] = {}
    for name, had in cells.items():
        drawn = {task: [search.test for (where, _), search in had.items() if where == task] for task in tasks}
        drawn = {task: tests for task, tests in drawn.items() if tests}
        spreads = [statistics.stdev(tests) for tests in drawn.values() if len(tests) > 1]
        first = 0.0
        for cell in everywhere:
            best = max(other[cell].test for other in cells.values())
            if had[cell].test == best:
                first += 1 / sum(other[cell].test == best for other in cells.values())
        searches = list(had.values())
        summary[name] = {
            "title": searches[0].title,
            "cells": len(had),
            "tests": {task: statistics.mean(tests) for task, tests in drawn.items()},
            "mean": statistics.mean(statistics.mean(tests) for tests in drawn.values()),
            "spread": statistics.mean(spreads) if spreads else None,
            "validation": statistics.mean(search.validation for search in searches),
            "evaluations": statistics.mean(search.evaluations for search in searches),
            "seconds": statistics.mean(search.seconds for search in searches),
            "first": first,
            "compared": len(everywhere),
        }
    for name, had in cells.items():
        if SWARM in cells and name != SWARM:
            summary[name]["to_swarm"] = paired(had, cells[SWARM])
        others = [other for other in cells if other != name]
        if others:
            strongest = max(others, key=lambda other: summary[other]["mean"])
            summary[name] |= {"best_other": strongest, "to_best_other": paired(had, cells[strongest])}
    return summary


def text_of(summary: Mapping[str, Any], tasks: Sequence[str]) -> str:
    """Return the table.

    Args:
        summary: What `summarise` returned.
        tasks: Its tasks.
    """

    def difference(found: Mapping[str, float] | None) -> str:
        if not found or not found["cells"]:
            return ""
        return f"{found['gain']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"

    rows = []
    for row in sorted(summary.values(), key=lambda row: -row["mean"]):
        tests = [f"{row['tests'][task]:.1f}" if task in row["tests"] else "" for task in tasks]
        spread = "" if row["spread"] is None else f"{row['spread']:.1f}"
        differences = [difference(row.get("to_swarm")), difference(row.get("to_best_other"))]
        # Seconds are kept in tenths: of what took less there is no speed.
        speed = f"{row['evaluations'] / row['seconds']:.0f}" if row["seconds"] else ""
        asked = [f"{row['evaluations']:.0f}", speed]
        numbers = [f"{row['first']:.1f}", f"{row['validation']:.1f}", *asked, str(row["cells"])]
        rows.append([row["title"], *tests, f"{row['mean']:.1f}", spread, *differences, *numbers])
    compared = next(iter(summary.values()))["compared"]
    header = [
        "method", *tasks, "mean", "spread", "to the published swarm", "to the best other", f"first of {compared}",
        "validation", "evaluations", "a second", "cells",
    ]  # fmt: skip
    return table(header, rows)


def curve_text(searches: Sequence[Search], seeds: int, tasks: Sequence[str], over: Over) -> str:
    """Return test scores over budgets or over numbers of validation examples, of the methods that have several.

    Args:
        searches: Of one world, with one number of examples or one budget.
        seeds: Number of seeds, counted from 0.
        tasks: In the order of the table; their mean comes first, of the points at which a method has all of them.
        over: What differs.

    Returns:
        The table with a title; nothing where no method has several.
    """
    points: dict[str, dict[str, dict[int, list[float]]]] = {}
    for search in searches:
        point = search.budget if over == "evaluations" else search.examples
        if point is not None and (search.seed is None or search.seed < seeds):
            points.setdefault(search.title, {}).setdefault(search.task, {}).setdefault(point, []).append(search.test)
    rows, columns = [], set[int]()
    for title, found in sorted(points.items()):
        if len(set().union(*found.values())) < 2:
            continue
        columns |= set().union(*found.values())
        means = {
            point: statistics.mean(statistics.mean(found[task][point]) for task in tasks)
            for point in set.intersection(*(set(found.get(task, {})) for task in tasks))
        }
        rows.append((title, "mean", {point: f"{mean:.1f}" for point, mean in means.items()}))
        for task in tasks:
            shown = {
                point: f"{statistics.mean(tests):.1f} ({len(tests)})" for point, tests in found.get(task, {}).items()
            }
            rows.append((title, task, shown))
    if not rows:
        return ""
    header = ["method", "task", *(f"{point} {over}" for point in sorted(columns))]
    cells = [[title, task, *(shown.get(point, "") for point in sorted(columns))] for title, task, shown in rows]
    return f"Test score over the number of {over}, in points (number of seeds)\n\n{table(header, cells)}"
