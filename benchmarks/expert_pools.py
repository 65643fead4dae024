"""What the pool of experts does to a search: without the best one, with the weaker half only, and with fewer kinds.

Weak-to-strong: experts are ranked by validation utility, all ten alone; then the search runs without the best one, or
with the five weakest only. Can what it finds beat the expert that it has never seen? Diversity: ten experts that are
ten kinds once, five twice, two five times, or one ten times; which kinds, is drawn by the seed. Experts that stand
several times in a pool are copies of one folder. Source of both experiments: arXiv:2410.11163, section 5.

Part of `methods.py`; test scores are in points (100 x score).
"""

import json
import random
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo_gain import search
from measuring import table

KINDS = (10, 5, 2, 1)  # of ten experts


def run(task: str, seed: int, root: Path, experts: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """Run one search, or return what it left when it ran before.

    Args:
        task: Name of a demo task.
        seed: Seed of the search.
        root: Folder for the run.
        experts: Folders of the experts.
        overrides: Further flags of `swarm fit`.

    Returns:
        The content of the run's summary.json.
    """
    summary = root / "version_0" / "summary.json"
    if summary.is_file():
        return dict(json.loads(summary.read_text(encoding="utf-8")))
    shutil.rmtree(root, ignore_errors=True)  # a search that was interrupted begins anew
    return search(task, seed, root, ["--model.experts", json.dumps(list(experts)), *overrides])


def ranking(task: str, root: Path, overrides: Sequence[str]) -> list[str]:
    """Return the demo's experts, the best on the task's validation split first.

    Args:
        task: Name of a demo task.
        root: Folder for the run whose first evaluation says so.
        overrides: Further flags of `swarm fit`.
    """
    import csv

    from swarm_lightning.demo import EXPERT_NAMES

    names = sorted(EXPERT_NAMES)
    run(task, 0, root, [f"demo:experts/{name}" for name in names], [*overrides, "--trainer.max_steps", "1"])
    with (root / "version_0" / "history.csv").open(newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    return sorted(names, key=lambda name: -float(first[f"utility/particle_{names.index(name):02d}"]))


def points(runs: Sequence[Mapping[str, Any]], row: int) -> float:
    """Return the mean test score over runs: 0 is the best initial expert, 1 the best found one."""
    return 100 * statistics.mean(float(one["test"][row]["utility"]) for one in runs)


def weak_to_strong(tasks: Sequence[str], seeds: int, root: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Search without the best expert, and with the weaker half.

    Args:
        tasks: Names of demo tasks.
        seeds: Number of seeds.
        root: Folder for the runs.
        overrides: Further flags of `swarm fit`.

    Returns:
        Task -> the best of all experts and its test score, and for both pools the test scores of the best in the pool
        and of the best found expert, means over the seeds.
    """
    found: dict[str, Any] = {}
    for task in tasks:
        ranked = ranking(task, root / task / "ranking", overrides)
        folders = [f"demo:experts/{name}" for name in ranked]
        best = [run(task, 0, root / task / "best", folders[:2], [*overrides, "--trainer.max_steps", "1"])]
        found[task] = {"best": ranked[0], "best_test": points(best, 0)}
        for name, pool in (("without_best", folders[1:]), ("weaker_half", folders[len(folders) // 2 :])):
            runs = [run(task, seed, root / task / f"{name}_{seed}", pool, overrides) for seed in range(seeds)]
            found[task][name] = {"initial": points(runs, 0), "found": points(runs, 1)}
    return found


def weak_text(found: Mapping[str, Any]) -> str:
    """Return the table of weak-to-strong.

    Args:
        found: What `weak_to_strong` returned.
    """
    rows = []
    for task, result in found.items():
        rows.append([task, f"{result['best_test']:.1f} ({result['best']})"])
        for name in ("without_best", "weaker_half"):
            pool = result[name]
            more = pool["found"] - result["best_test"]
            rows[-1] += [f"{pool['initial']:.1f}", f"{pool['found']:.1f}", f"{more:+.1f}"]
    header = ["task", "best expert of all"]
    header += [
        "without it: best",
        "found",
        "over the best of all",
        "weaker half: best",
        "found",
        "over the best of all",
    ]
    return f"Weak-to-strong: test scores in points\n\n{table(header, rows)}"


def pool_of(kinds: int, seed: int, folder: Path) -> list[str]:
    """Return ten expert folders that are so many kinds.

    Args:
        kinds: Number of different experts, a divisor of ten.
        seed: Seed of the draw.
        folder: Where copies go.
    """
    from swarm_lightning.demo import EXPERT_NAMES, EXPERTS

    drawn = random.Random(f"kinds {seed}").sample(sorted(EXPERT_NAMES), kinds)
    copies = len(EXPERT_NAMES) // kinds
    folders = [folder / f"{name}_{copy}" for name in drawn for copy in range(copies)]
    for path in folders:
        if not path.exists():
            shutil.copytree(EXPERTS / path.name.rsplit("_", 1)[0], path)
    return [str(path) for path in folders]


def diversity(tasks: Sequence[str], seeds: int, root: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Search with pools of ten experts of fewer and fewer kinds.

    Args:
        tasks: Names of demo tasks.
        seeds: Number of seeds; each draws its kinds.
        root: Folder for the runs and the copies.
        overrides: Further flags of `swarm fit`.

    Returns:
        Task -> number of kinds -> test scores of the best in the pool and of the best found expert, means over the
        seeds.
    """
    found: dict[str, Any] = {}
    for task in tasks:
        found[task] = {}
        for kinds in KINDS:
            runs = [
                run(
                    task,
                    seed,
                    root / task / f"{kinds}_{seed}",
                    pool_of(kinds, seed, root / "experts" / f"{kinds}_{seed}"),
                    overrides,
                )
                for seed in range(seeds)
            ]
            found[task][str(kinds)] = {"initial": points(runs, 0), "found": points(runs, 1)}
    return found


def diversity_text(found: Mapping[str, Any]) -> str:
    """Return the table of diversity.

    Args:
        found: What `diversity` returned.
    """
    rows = [
        [task, *(f"{result[str(kinds)]['found']:.1f} ({result[str(kinds)]['initial']:.1f})" for kinds in KINDS)]
        for task, result in found.items()
    ]
    header = ["task", *(f"{kinds} x {10 // kinds}" for kinds in KINDS)]
    return (
        f"Diversity: test score of the best found expert (of the best in the pool), in points\n\n{table(header, rows)}"
    )
