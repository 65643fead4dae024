"""What graphs of models gain on the demo world beside the plain swarm at equal cost, on the test split, over seeds.

    python benchmarks/heterogeneous.py --kept benchmarks/results/heterogeneous.jsonl --seeds 5

What limits it is arithmetic: replies of a model of about one million weights. Cost is counted in replies that a model
was asked for: the nodes of all graphs and assignments, without those that were known already. Every other search, the
ablations and the plain swarm, ends behind the iteration in which it has asked for as many. All rows are scored on the
same test examples, which no search has seen; the best expert is chosen on the validation examples.

Each finished search is a line of `--kept`; what stands there with the same settings is not run again, so an interrupted
benchmark goes on, and grows by further seeds.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from measuring import machine, report
from quiet_search import EndAtBudget, fitted
from swarm_lightning.data.module import SwarmData
from swarm_lightning.evaluation.settings import GraphSettings
from swarm_lightning.evaluation.systems.messages import Instructions
from swarm_lightning.objectives import MultipleChoice
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm import HeterogeneousSwarm, ParticleSwarm
from swarm_lightning.swarm.graphs import Decoding, Fixed
from swarm_lightning.swarm.heterogeneous_swarm import Moves

BARE = GraphSettings(instructions=Instructions("", "", "", "{reply}"))
WHOLE = "heterogeneous swarm"
# What moves, and on which graph; the first search says what the others may spend.
SEARCHES: dict[str, tuple[Fixed | None, Moves | None]] = {
    WHOLE: (None, "both"),
    "roles only": (None, "roles"),
    "weights only, on the best first graph": (None, "weights"),
    "weights only, on a chain": ("chain", "weights"),
    "weights only, on a star": ("star", "weights"),
    "plain swarm": (None, None),
}
MOST_STEPS = 200
REPLIES = "replies of "  # before the name of a row
IDENTITY = ("task", "experts", "graphs", "assignments", "particles", "steps", "validation", "test")
EXPERTS = ["hunter", "scribe", "shepherd", "weaver"]


def compare(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Return the test accuracy in points of every row, for one seed, and how many replies each search asked for."""
    settings = {name: getattr(options, name) for name in IDENTITY}
    rows = kept_rows(options.kept, settings, seed)
    with tempfile.TemporaryDirectory() as folder:
        for name, (fixed, moves) in SEARCHES.items():
            if REPLIES + name in rows:
                continue
            budget = rows.get(REPLIES + WHOLE)
            new = searched(options, seed, name, search_of(options, fixed, moves), budget, folder)
            rows |= new
            options.kept.parent.mkdir(parents=True, exist_ok=True)
            with options.kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"settings": settings, "seed": seed, "rows": new}) + "\n")
    return rows


def kept_rows(file: Path, settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Return the rows that are kept of a seed.

    Args:
        file: A JSON object a line.
        settings: With which they must have been run.
        seed: Of the searches.
    """
    rows: dict[str, float] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        kept = json.loads(line)
        if (kept["settings"], kept["seed"]) == (settings, seed):
            rows |= kept["rows"]
    return rows


def search_of(options: argparse.Namespace, fixed: Fixed | None, moves: Moves | None) -> ModelSwarm:
    """Return a search of graphs, or the plain swarm where nothing of a graph moves."""
    made: dict[str, Any] = {
        "experts": [f"demo:experts/{name}" for name in options.experts],
        "objective": MultipleChoice(max_new_tokens=3),
    }
    if moves is None:
        return ModelSwarm("demo:base", **made, particles=options.particles, optimizer=partial(ParticleSwarm))
    swarm = partial(HeterogeneousSwarm, assignments=options.assignments, moves=moves)
    graphs = replace(BARE, decoding=Decoding(fixed=fixed))
    return ModelSwarm("demo:base", **made, particles=options.graphs, graphs=graphs, optimizer=swarm)


def searched(
    options: argparse.Namespace, seed: int, name: str, module: ModelSwarm, budget: float | None, folder: str
) -> dict[str, float]:
    """Search until a budget is spent, or for so many iterations where there is none yet.

    Args:
        options: Of the command.
        seed: Of the search and of its examples.
        name: Of the row.
        module: The search.
        budget: Replies.
        folder: Of the trainer.

    Returns:
        The test accuracy of what was found, what was spent, and without a budget also the rows of what needs no search.
    """
    graphs = module.settings.graphs is not None

    def spent() -> int:
        return module.evaluator.runner.replies if graphs else module.state.evaluations

    ends = [] if budget is None else [EndAtBudget(spent, budget)]
    sizes = {"validation_size": options.validation, "test_size": options.test, "seed": seed}
    data = SwarmData(f"demo:tasks/{options.task}.json", **sizes)
    fitted(module, data, options.steps if budget is None else MOST_STEPS, seed, folder, *ends)
    found = spent()
    scored = {row.name: 100 * row.utility for row in module.bests.score(module.held_back, references=budget is None)}
    rows = {name: scored.pop("best found expert"), REPLIES + name: found}
    if budget is None:
        rows |= {"best single expert" if row == "best initial expert" else row: scored[row] for row in scored}
    return rows


def table(found: Sequence[dict[str, float]]) -> str:
    """Return means and standard deviations over the seeds, and the mean replies of what was searched."""
    lines = ["| row | mean | sd | over the best expert | replies |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in found[0]:
        if name.startswith(REPLIES):
            continue
        values = [rows[name] for rows in found]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        gain = statistics.mean(rows[name] - rows["best single expert"] for rows in found)
        replies = [rows[REPLIES + name] for rows in found if REPLIES + name in rows]
        cost = f"{statistics.mean(replies):,.0f}" if replies else ""
        lines.append(f"| {name} | {statistics.mean(values):.1f} | {spread:.1f} | {gain:+.1f} | {cost} |")
    return "\n".join(lines)


def main() -> None:
    """Compare over some seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--task", default="neighbours")
    parser.add_argument("--experts", nargs="+", default=EXPERTS)
    parser.add_argument("--graphs", type=int, default=6)
    parser.add_argument("--assignments", type=int, default=6)
    parser.add_argument("--particles", type=int, default=12)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--validation", type=int, default=60)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--kept", type=Path, required=True, help="file that keeps each finished search, a line each")
    parser.add_argument("--output", type=Path, help="Markdown file for the table")
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        found.append(compare(options, seed))
        print(f"seed {seed}: {found[-1]}", flush=True)
    text, numbers = table(found), {"settings": {name: getattr(options, name) for name in IDENTITY}, "rows": found}
    if options.output is not None:
        command = f"python benchmarks/heterogeneous.py --seeds {options.seeds}"
        last = json.dumps({"benchmark": "heterogeneous", **numbers})
        options.output.write_text(
            f"# Graphs of models on the demo world\n\n`{command}` on {machine()}\n\n{text}\n\n```json\n{last}\n```\n",
            encoding="utf-8",
        )
    report("heterogeneous", text, numbers)


if __name__ == "__main__":
    main()
