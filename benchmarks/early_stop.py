"""How much a search need not evaluate: the exact stop in (particle, example) pairs, the row stops in tokens.

    python benchmarks/early_stop.py --seeds 5

What limits a search is arithmetic: K x N x M replies. Two settings of `swarm fit` leave some of it out and change
nothing else: `model.engine.exact_stop` asks a particle no further once it can neither beat its personal best nor
undercut the global worst, and `model.engine.row_stops` ends a reply once its score is settled. Counted are
evaluations and tokens, not seconds, so that the machine does not matter; both counts come from `summary.json`.

Every search is run in full and with one of the two settings on, and its last checkpoint is compared tensor by tensor:
positions, velocities, personal bests, global best and worst, restarts. The last known utility of a particle that was
stopped is not among them: nothing reads it.
"""

import argparse
import inspect
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_gain import TASKS, search
from measuring import report, table

REPEL = {"on": (), "off": ("--model.optimizer.init_args.repel", "0")}
# The fraction that must be left out: of the evaluations by repel, in the mean over tasks and seeds, and of the tokens.
EVALUATION_TARGETS = {"on": 0.25, "off": 0.40}
TOKEN_TARGET = 0.5
COMPARED = (
    "velocities",
    "personal_bests",
    "personal_best_utilities",
    "initial_utilities",
    "global_best",
    "global_best_utility",
    "global_worst",
    "global_worst_utility",
    "best_particle",
    "iterations",
    "restarts",
)


@dataclass(frozen=True)
class Run:
    """What one search left behind.

    Attributes:
        evaluations: (particle, example) pairs that were asked.
        tokens: Tokens that were generated.
        state: Name -> tensor of the last checkpoint.
    """

    evaluations: int
    tokens: int
    state: dict[str, Any]


def engine_is_there() -> bool:
    """Tell whether the search has the settings that are measured here."""
    from swarm_lightning.search import ModelSwarm

    return "engine" in inspect.signature(ModelSwarm).parameters


def run(task: str, seed: int, root: Path, exact_stop: bool, row_stops: bool, overrides: Sequence[str]) -> Run:
    """Run one search: the only place here that calls this package.

    Args:
        task: Name of a demo task.
        seed: Seed of the search.
        root: Folder for the run.
        exact_stop: Whether particles are stopped whose fate is settled.
        row_stops: Whether replies are stopped whose score is settled.
        overrides: Further flags of `swarm fit`.
    """
    import torch

    engine = {"exact_stop": exact_stop, "row_stops": row_stops}
    flags = [part for name, value in engine.items() for part in (f"--model.engine.{name}", str(value).lower())]
    summary = search(task, seed, root, [*flags, *overrides])
    checkpoint = torch.load(root / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    memory = next(iter(checkpoint["optimizer_states"][0]["state"].values()))
    state = {"positions": checkpoint["state_dict"]["positions"], **{name: memory[name] for name in COMPARED}}
    return Run(summary["evaluations"], summary["generated_tokens"], state)


def differences(one: Run, other: Run) -> list[str]:
    """Name the tensors in which two searches ended differently."""
    return [name for name, tensor in one.state.items() if not tensor.equal(other.state[name])]


def measure(task: str, seed: int, root: Path, new_tokens: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Run the searches of one task and seed: in full, and with each setting; return plain values.

    Args:
        task: Name of a demo task.
        seed: Seed of the searches.
        root: Folder for the runs.
        new_tokens: The token limit of a reply; without row stops a reply may still end by itself before it.
        overrides: Further flags of `swarm fit`.
    """
    found: dict[str, Any] = {}
    for repel, flags in REPEL.items():
        with_flags = (*flags, *overrides)
        full = run(task, seed, root / f"full_{repel}", False, False, with_flags)
        exact = run(task, seed, root / f"exact_{repel}", True, False, with_flags)
        found[repel] = {
            "full": full.evaluations,
            "asked": exact.evaluations,
            "left_out": 1 - exact.evaluations / full.evaluations,
            "different": differences(full, exact),
        }
        if repel == "on":
            rows = run(task, seed, root / "rows", False, True, with_flags)
            found["tokens"] = {
                "to_the_limit": full.evaluations * new_tokens,
                "without_row_stops": full.tokens,
                "generated": rows.tokens,
                "left_out": 1 - rows.tokens / (full.evaluations * new_tokens),
                "different": differences(full, rows),
            }
    return found


def text_of(results: dict[str, dict[int, dict[str, Any]]]) -> tuple[str, dict[str, float]]:
    """Return the table of all tasks and seeds, and the means over both.

    Args:
        results: Task -> seed -> what `measure` returned.
    """
    columns = {"on": "evaluations left out, repel on", "off": "repel off", "tokens": "tokens left out, to the limit"}

    def cell(row: dict[str, Any]) -> str:
        return f"{100 * row['left_out']:.1f}%" + (" DIFFERENT" if row["different"] else "")

    rows = [
        [f"{task}, seed {seed}", *(cell(found[column]) for column in columns)]
        for task, seeds in results.items()
        for seed, found in seeds.items()
    ]
    everything = [found for seeds in results.values() for found in seeds.values()]
    means = {column: statistics.mean(found[column]["left_out"] for found in everything) for column in columns}
    targets = {**EVALUATION_TARGETS, "tokens": TOKEN_TARGET}
    rows.append(["mean", *(f"{100 * means[column]:.1f}%" for column in columns)])
    rows.append(["target", *(f">= {100 * targets[column]:.0f}%" for column in columns)])
    return table(["", *columns.values()], rows), means


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all searches and print the table; further arguments go to `swarm fit`.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.

    Raises:
        SystemExit: If the search has no such settings, or a stop changed where a search went.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--new-tokens", type=int, default=10, help="the most tokens of a reply")
    chosen, overrides = parser.parse_known_args(arguments)
    if not engine_is_there():
        raise SystemExit(
            "Expected the search to have the settings model.engine.exact_stop and row_stops, but it has none."
        )
    sys.argv = sys.argv[:1]  # the searches get their own arguments
    overrides = ["--model.objective.max_new_tokens", str(chosen.new_tokens), *overrides]
    results: dict[str, dict[int, dict[str, Any]]] = {task: {} for task in chosen.tasks}
    with tempfile.TemporaryDirectory() as folder:
        for task in chosen.tasks:
            for seed in range(chosen.seeds):
                results[task][seed] = measure(task, seed, Path(folder) / f"{task}_{seed}", chosen.new_tokens, overrides)
    text, means = text_of(results)
    report(
        "early_stop", text, {"seeds": chosen.seeds, "new_tokens": chosen.new_tokens, "mean": means, "tasks": results}
    )
    parts = [part for seeds in results.values() for found in seeds.values() for part in found.values()]
    if any(part["different"] for part in parts):
        raise SystemExit("Expected the same trajectories with and without the stops, but some differ.")


if __name__ == "__main__":
    main()
