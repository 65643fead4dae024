"""How much a search gains on the demo world, on the test split, over several seeds.

    python benchmarks/demo_gain.py --seeds 5 --draws particle coefficient

What limits it is arithmetic: K x N x M replies of a model of about one million weights. Every number is made by the
command `swarm fit --config configs/quickstart.yaml` with the task and the seed changed, and read from its
`summary.json`; the test split is scored after the search only. Compared are the best initial expert (chosen on the
validation split among the experts) and the best found expert (chosen on the validation split by the search).
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import flag, machine, report

EXACT = ("--model.objective", "swarm_lightning.objectives.ExactMatch", "--model.objective.rule", "exact")
CHOICE = ("--model.objective", "swarm_lightning.objectives.MultipleChoice")
TASKS = {"atlas": EXACT, "lists": EXACT, "neighbours": CHOICE, "kinds": CHOICE}
DRAWS = ("particle", "tensor", "coefficient")
CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
COMPARE = CONFIG.with_name("compare.yaml")


def search(task: str, seed: int, root: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Run one search and return its summary.

    Args:
        task: Name of a demo task.
        seed: Seed of the search.
        root: Folder for the run.
        overrides: Further flags of `swarm fit`.

    Returns:
        The content of the run's summary.json.
    """
    from swarm_lightning.cli import main

    main(
        [
            *("fit", "--config", str(CONFIG), "--seed_everything", str(seed)),
            *("--data.dataset", f"demo:tasks/{task}.json"),
            *TASKS[task],
            *("--trainer.default_root_dir", str(root), "--trainer.enable_progress_bar", "false"),
            *overrides,
        ]
    )
    return json.loads((root / "version_0" / "summary.json").read_text(encoding="utf-8"))


def compare_on(task: str, folder: Path, settings: Sequence[str]) -> None:
    """Run a comparison on a task, or what is missing of it in its folder.

    Args:
        task: Name of a demo task.
        folder: Of the comparison.
        settings: Further flags of `swarm compare`; another dataset of the same form may be among them.
    """
    from swarm_lightning.cli import main

    main(
        [
            *("compare", "--config", str(COMPARE), "--data.dataset", f"demo:tasks/{task}.json", *TASKS[task]),
            *("--compare.output", str(folder), "--trainer.enable_progress_bar", "false", *settings),
        ]
    )


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means and spreads over the seeds of one task; utilities in points (100 x accuracy).

    Args:
        runs: Summaries of the searches of one task.
    """

    def points(split: str, row: int) -> list[float]:
        return [100 * run[split][row]["utility"] for run in runs]

    gains = [after - before for before, after in zip(points("test", 0), points("test", 1), strict=True)]
    return {
        "initial_validation": statistics.mean(points("validation", 0)),
        "found_validation": statistics.mean(points("validation", 1)),
        "initial_test": statistics.mean(points("test", 0)),
        "found_test": statistics.mean(points("test", 1)),
        "gain": statistics.mean(gains),
        "spread": statistics.stdev(gains) if len(gains) > 1 else 0.0,
        "gains": gains,
        "iterations": [run["iterations"] for run in runs],
        "seconds": statistics.median(run["seconds"] for run in runs),
    }


def table(results: dict[str, dict[str, Any]], seeds: int) -> str:
    """Return the results as a Markdown table.

    Args:
        results: Task -> what `summarise` returned.
        seeds: Number of seeds.
    """
    lines = [
        "| task | best initial expert, test | best found expert, test "
        f"| gain, mean of {seeds} seeds | smallest to largest | on validation | iterations | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for task, row in results.items():
        lines.append(
            f"| {task} | {row['initial_test']:.1f} | {row['found_test']:.1f} "
            f"| **{row['gain']:+.1f}** ± {row['spread']:.1f} | {min(row['gains']):+.1f} to {max(row['gains']):+.1f} "
            f"| {row['initial_validation']:.1f} → {row['found_validation']:.1f} "
            f"| {min(row['iterations'])} to {max(row['iterations'])} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run all searches, print the table, and keep it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--draws", nargs="+", default=[DRAWS[0]], choices=DRAWS, help="model.draws of the searches")
    parser.add_argument("--output", type=Path, help="file for the table and the numbers (Markdown)")
    arguments, overrides = parser.parse_known_args()
    sys.argv = sys.argv[:1]  # the searches get their own arguments
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for task, draws in itertools.product(arguments.tasks, arguments.draws):
            name = task if draws == DRAWS[0] else f"{task}, {draws}"
            flags = ["--model.draws", draws, *overrides]
            runs = [search(task, seed, Path(folder) / f"{name}_{seed}", flags) for seed in range(arguments.seeds)]
            results[name] = summarise(runs)
    text = table(results, arguments.seeds)
    numbers = {"seeds": arguments.seeds, "tasks": results}
    if arguments.output is not None:
        command = f"python benchmarks/demo_gain.py --seeds {arguments.seeds}{flag('tasks', arguments.tasks, TASKS)}"
        command += f"{flag('draws', arguments.draws, DRAWS[:1])}{''.join(f' {override}' for override in overrides)}"
        last = json.dumps({"benchmark": "demo_gain", **numbers})
        arguments.output.write_text(
            f"# Gain on the demo world\n\n`{command}` on {machine()}\n\n{text}\n\n```json\n{last}\n```\n",
            encoding="utf-8",
        )
    report("demo_gain", text, numbers)


if __name__ == "__main__":
    main()
