"""What graphs of models gain on the demo world beside the plain swarm at equal cost, on the test split, over seeds.

    python benchmarks/heterogeneous.py --seeds 5

What limits it is arithmetic: replies of a model of about one million weights. Cost is counted in replies that a model
was asked for: the nodes of all graphs and assignments, without those that were known already. The plain swarm does as
many iterations as would cost as much if it asked everything; its exact stop then leaves some unasked. All rows are
scored on the same test examples, which no search has seen; the best expert is chosen on the validation examples.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from measuring import machine, report
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.evaluation.systems.graph_settings import GraphSettings
from swarm_lightning.evaluation.systems.messages import Instructions
from swarm_lightning.objectives import MultipleChoice
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm import HeterogeneousSwarm, ParticleSwarm

BARE = GraphSettings(instructions=Instructions("", "", "", "{reply}"))
EXPERTS = ["hunter", "scribe", "shepherd", "weaver"]


def fitted(module: ModelSwarm, data: SwarmData, steps: int, seed: int, folder: str) -> ModelSwarm:
    """Search without writing anything, and score the test split."""
    L.seed_everything(seed, verbose=False)
    trainer = SwarmTrainer(
        accelerator="cpu", devices=1, max_steps=steps, default_root_dir=folder, logger=False, callbacks=[],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        log_every_n_steps=1, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return module


def compare(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Return the test accuracy in points of every row, for one seed, and what both searches cost."""
    experts = [f"demo:experts/{name}" for name in options.experts]
    objective = MultipleChoice(max_new_tokens=3)

    def data() -> SwarmData:
        sizes = {"validation_size": options.validation, "test_size": options.test, "seed": seed}
        return SwarmData(f"demo:tasks/{options.task}.json", **sizes)

    with tempfile.TemporaryDirectory() as folder:
        swarm = partial(HeterogeneousSwarm, assignments=options.assignments)
        made: dict[str, Any] = {"experts": experts, "objective": objective}
        graphs = ModelSwarm("demo:base", **made, particles=options.graphs, graphs=BARE, optimizer=swarm)
        fitted(graphs, data(), options.steps, seed, folder)
        replies = graphs.evaluator.runner.replies
        test = graphs.held_back
        rows = {row.name: 100 * row.utility for row in graphs.bests.score(test, references=True)}
        rows["heterogeneous swarm"] = rows.pop("best found expert")
        rows["best single expert"] = rows.pop("best initial expert")
        particles = options.particles
        steps = max(1, round(replies / (particles * options.validation)) - 1)
        plain = ModelSwarm("demo:base", **made, particles=particles, optimizer=partial(ParticleSwarm))
        fitted(plain, data(), steps, seed, folder)
        rows["plain swarm"] = 100 * plain.result(plain.held_back).test[1].utility
        return rows | {"replies": replies, "replies of the plain swarm": plain.state.evaluations}


def table(found: Sequence[dict[str, float]]) -> str:
    """Return means and standard deviations over the seeds."""
    lines = ["| row | mean | sd | over the best expert |", "| --- | ---: | ---: | ---: |"]
    for name in found[0]:
        values = [rows[name] for rows in found]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        gains = [rows[name] - rows["best single expert"] for rows in found]
        over = "" if name.startswith("replies") else f"{statistics.mean(gains):+.1f}"
        lines.append(f"| {name} | {statistics.mean(values):.1f} | {spread:.1f} | {over} |")
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
    parser.add_argument("--output", type=Path, help="Markdown file for the table")
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        found.append(compare(options, seed))
        print(f"seed {seed}: {found[-1]}", flush=True)
    text, numbers = table(found), {"settings": {**vars(options), "output": None}, "rows": found}
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
