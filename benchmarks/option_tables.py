"""Variants of a search in one table: scores by task, and paired differences to the variant that changes nothing.

What runs them is in `search_options.py` and `strategy_options.py`. Nothing here loads a model.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measuring import table
from study_tables import gain_of
from swarm_lightning.baselines import registry
from swarm_lightning.baselines.method import Method
from swarm_lightning.baselines.settings import CompareSettings


def read(folder: Path, name: str, seed: int) -> dict[str, float]:
    """Return validation utility and test score of a variant in points, and what it asked."""
    kept = json.loads((folder / "results" / f"{name}_seed_{seed}.json").read_text(encoding="utf-8"))
    scores = kept["test"]
    return {
        "validation": 100 * kept["validation"],
        "test": 100 * statistics.mean(scores) if scores else float("nan"),
        "evaluations": kept["evaluations"],
    }


def read_all(
    root: Path, tasks: Sequence[str], names: Sequence[str], seeds: int
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return what `read` says of every variant, by task, variant and seed.

    Args:
        root: Folder of the comparisons, one of each task.
        tasks: Their names.
        names: Of the variants.
        seeds: Number of seeds, counted from 0.
    """
    return {task: {name: [read(root / task, name, seed) for seed in range(seeds)] for name in names} for task in tasks}


def offer(methods: Mapping[str, Method]) -> None:
    """Let `swarm compare` run methods of a benchmark's own in this process, by their names."""
    registry.METHODS = {**registry.METHODS, **{name: partial(_own, method) for name, method in methods.items()}}


def _own(method: Method, settings: CompareSettings) -> Method:
    return method


def summarise(found: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], reference: str) -> dict[str, Any]:
    """Return means and paired differences to one of the variants.

    Args:
        found: Task -> variant -> what `read` returned, by seed.
        reference: The variant that the others are compared with.

    Returns:
        Variant -> `test` (task -> mean in points), `mean`, `validation` (mean over all), `evaluations` (mean), and,
        for all but the reference, `gain` (mean difference of the test score), `low` and `high` (its 95%
        bootstrap interval over tasks and seeds), `tasks_better` and `tasks`.
    """
    summary: dict[str, Any] = {}
    for name in next(iter(found.values())):
        tests = {task: [one["test"] for one in variants[name]] for task, variants in found.items()}
        every = [one for variants in found.values() for one in variants[name]]
        summary[name] = {
            "test": {task: statistics.mean(scores) for task, scores in tests.items()},
            "mean": statistics.mean(one["test"] for one in every),
            "validation": statistics.mean(one["validation"] for one in every),
            "evaluations": statistics.mean(one["evaluations"] for one in every),
        }
        if name == reference:
            continue
        gains = {
            task: [one - other["test"] for one, other in zip(tests[task], found[task][reference], strict=True)]
            for task in tests
        }
        pairs = [gain for task in gains.values() for gain in task]
        summary[name] |= {
            **gain_of(pairs),
            "tasks_better": sum(statistics.mean(task) > 0 for task in gains.values()),
            "tasks": len(gains),
        }
    return summary


def text_of(summary: Mapping[str, Any], titles: Mapping[str, str], reference: str) -> str:
    """Return the table.

    Args:
        summary: What `summarise` returned.
        titles: What the table calls each variant.
        reference: The variant that the others are compared with.
    """
    tasks = list(next(iter(summary.values()))["test"])
    rows = []
    for name, row in summary.items():
        gains = ["", "", ""]
        if name != reference:
            gains = [f"{row['gain']:+.2f}", f"{row['low']:+.2f} to {row['high']:+.2f}"]
            gains.append(f"{row['tasks_better']} of {row['tasks']}")
        scores = [f"{row['test'][task]:.1f}" for task in tasks]
        rows.append([titles[name], *scores, f"{row['mean']:.2f}", *gains, f"{row['validation']:.1f}"])
    return table(["variant", *tasks, "mean", "gain", "95% interval", "tasks better", "validation"], rows)
