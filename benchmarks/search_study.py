"""Every search against every other and against what needs none, on a world, at equal evaluations.

    python benchmarks/search_study.py --kept benchmarks/results/search_study.jsonl --runs runs/study
    python benchmarks/search_study.py --kept benchmarks/results/search_study.jsonl --world FOLDER --output FILE.md
    python benchmarks/search_study.py --kept FILE --evaluations 4700 15700 47000 141000 --methods published genome
    python benchmarks/search_study.py --kept FILE --examples 50 100 200 400

What limits it is arithmetic: a search asks `--evaluations` (model, example) pairs, on every task with every seed. All
of them run as methods of `swarm compare`, so the test split is asked once, of what a method handed over. The published
swarm stops by its own patience, which takes about as many pairs; the table says how many. Everything here is
forward-only and makes one adapter.

Each finished search is a line of `--kept`; what stands there is not run again, so an interrupted study goes on, and
grows by further seeds, methods, budgets and numbers of examples. Lines of other worlds may stand in the same file.
Seeds come first, then tasks: what is there when it is stopped is whole seeds and a part of one. Curves are made of all
lines of the world, whatever is asked for; in those over budgets, `published` is the published swarm, which goes on as
long as its budget lasts and not until its patience ends.

`--examples` asks other numbers of validation examples. A seed draws them from the first 400 of a task, in which 100
examples hold those 50 that it draws alone, and scores are of the other 800: those of the test split that are never
drawn, so that all points of the curve are tested on the same. Every method runs with every seed then, as the examples
differ. Such lines do not enter the other tables.

Means are over the cells, pairs of a task and a seed, that a method has; a method without random numbers counts in the
cells of its task. Differences are paired by cell, with a bootstrap interval over cells: it knows nothing of other
tasks.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import lightning
from torch import Tensor

from demo_gain import TASKS, compare_on
from measuring import flag, machine, report
from minibatch_swarm import MinibatchSwarm
from option_tables import offer
from search_options import PUBLISHED, VARIANTS
from study_tables import Search, cells_of, curve_text, read_kept, summarise, text_of
from swarm_lightning.baselines import registry
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.evolmerge import evolve
from swarm_lightning.baselines.method import Composition, Kind, Method
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.results import read_results
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.baselines.swarm_row import composition_of
from swarm_lightning.cli.subcommands.adapt import adapt
from swarm_lightning.demo import TASKS as DEMO_TASKS
from swarm_lightning.names import SWARM

DEMO = "demo"
DRAWN_FROM = 400  # the validation split and the first examples of the test split


class MeanOfEvolMerge:
    """EvolMerge that hands over the mean of its distribution, and not the best that it has asked."""

    title = "EvolMerge, mean of its distribution"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Search, and ask the mean once."""
        origin = bench.origin()
        found = evolve(bench, lambda weights: bench.utilities(bench.combinations(weights, origin)), kept=1)
        vector = bench.combinations(found.mean[None], origin)[0][:].clone()
        return Composition(bench.utility(vector), f"after {found.tried}", vector)


class ProductsByCMA:
    """CMA-ES on one coefficient of the product B A per expert, guided; the best by the guide is handed over."""

    title = "CMA-ES on products, by the guide"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Search, and ask what was found once by the objective."""
        products = ProductBench(bench, guided=True)

        def utilities_of(weights: Tensor) -> Tensor:
            return products.utilities(weights)

        found = evolve(bench, utilities_of, kept=1)
        best = found.candidates[found.place]
        return products.composition(best, products.worth(best), f"best of {found.tried}")


class Adapted:
    """`swarm adapt` itself, in a run of its own: what a user gets who names no method."""

    title = "swarm adapt"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Adapt within the budget; the test split is asked by the comparison, as of every other method."""
        settings, data = bench.module.settings, bench.module.trainer.datamodule  # type: ignore[attr-defined]
        lightning.seed_everything(bench.seed)
        with tempfile.TemporaryDirectory() as folder:
            found = adapt(
                str(settings.base), settings.experts, data, bench.budget, objective=bench.module.objective,
                folder=folder,
            )  # fmt: skip
            return composition_of(found.module)


OWN: dict[str, Method] = {
    "adapt": Adapted(),
    "evolmerge_mean": MeanOfEvolMerge(),
    PUBLISHED: VARIANTS[PUBLISHED],
    "swarm_guided": VARIANTS["guided"],
    "swarm_products": VARIANTS["guided_products"],
    "cma_products": ProductsByCMA(),
    "swarm_minibatch": MinibatchSwarm(),
}
# In the order in which they matter most: what runs first is there when the study is stopped.
METHODS = (
    "best_expert", "greedy_soup", "product_mean", "product_soup", "regression_mean", "evolution_strategy", "adapt",
    SWARM, "evolmerge", "swarm_minibatch", "cma_products", "swarm_products", "swarm_guided", "evolmerge_mean", "genome",
    "random_search", "evogm", "pso_merging", PUBLISHED,
)  # fmt: skip


class Point(NamedTuple):
    """Where of a curve something is measured.

    Attributes:
        evaluations: Pairs that a search may ask.
        examples: Validation examples that are drawn; None for the task's own split.
    """

    evaluations: int
    examples: int | None


def run(
    task: str,
    seed: int,
    names: Sequence[str],
    point: Point,
    chosen: argparse.Namespace,
    folder: Path,
    overrides: Sequence[str],
) -> None:
    """Run methods on a task with a seed, or what is missing of them in the folder.

    Args:
        task: Name of a task.
        seed: Of the searches.
        names: Of the methods.
        point: The budget, and the number of validation examples.
        chosen: The benchmark's settings.
        folder: Of the comparison.
        overrides: Further flags of `swarm compare`.
    """  # fmt: skip
    settings = ["--compare.methods", json.dumps(list(names)), "--compare.evaluations", str(point.evaluations)]
    settings += ["--compare.seeds", f"[{seed}]", "--compare.export", "false"]
    tasks = DEMO_TASKS if chosen.world is None else chosen.world / "tasks"
    if chosen.world is not None:
        settings += ["--data.dataset", str(tasks / f"{task}.json")]
        settings += ["--model.base", str(chosen.world / "base"), "--model.experts", str(chosen.world / "experts")]
    if point.examples is not None:
        drawn = folder.with_name(f"{folder.name}.json")
        drawn.parent.mkdir(parents=True, exist_ok=True)
        records = json.loads((tasks / f"{task}.json").read_text(encoding="utf-8"))
        drawn.write_text(json.dumps(redrawn(records, point.examples, seed)), encoding="utf-8")
        settings += ["--data.dataset", str(drawn)]
    compare_on(task, folder, [*settings, *overrides])


def redrawn(records: Mapping[str, Any], examples: int, seed: int) -> dict[str, Any]:
    """Return a task with another number of validation examples, and a test split that is the same for all numbers.

    Args:
        records: Content of a task's file.
        examples: How many, up to 400.
        seed: Says which: those of a smaller number are among those of a larger one.

    Raises:
        ValueError: If there are too few.
    """
    first = [*records["dev"], *records["test"]][:DRAWN_FROM]
    if not 1 <= examples <= len(first):
        raise ValueError(f"Expected from 1 to {len(first)} validation examples, but got {examples}.")
    order = random.Random(seed).sample(first, len(first))
    return {**records, "dev": order[:examples], "test": records["test"][DRAWN_FROM - len(records["dev"]) :]}


def searches_in(folder: Path, world: str, task: str, seed: int, point: Point) -> list[Search]:
    """Return what a comparison's folder holds.

    Args:
        folder: Of the comparison.
        world: Name of the world.
        task: Name of the task.
        seed: That its examples were drawn with, where they were.
        point: The budget of its searches, and the number of validation examples.
    """
    found = []
    for name, results in read_results(folder).items():
        method = registry.METHODS[name](CompareSettings())
        for result in results:
            found.append(
                Search(
                    world, task, name, method.title, result.seed if point.examples is None else seed,
                    budget_of(name, point), 100 * result.validation, 100 * statistics.mean(result.test),
                    result.evaluations, round(result.seconds, 1), point.examples,
                )
            )  # fmt: skip
    return found


def budget_of(name: str, point: Point) -> int | None:
    """Return what limits a method; None where nothing does.

    Args:
        name: Of the method.
        point: The budget of searches.
    """
    searches = registry.METHODS[name](CompareSettings()).kind == "search" and name != SWARM
    return point.evaluations if searches else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, print the tables, and keep them; further arguments go to `swarm compare`.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", type=Path, help="folder with base/, experts/ and tasks/; the demo world if left out")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    parser.add_argument(
        "--evaluations", type=int, nargs="+", default=[47_000], help="pairs that a search may ask; the table's first"
    )
    parser.add_argument("--examples", type=int, nargs="+", help="other numbers of validation examples, up to 400")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--kept", type=Path, required=True, help="file that keeps each finished search, a line each")
    parser.add_argument("--runs", type=Path, help="folder of the comparisons; a temporary one if left out")
    parser.add_argument("--output", type=Path, help="file for the tables (Markdown)")
    parser.add_argument("--report", action="store_true", help="run nothing: only the tables of what is kept")
    chosen, overrides = parser.parse_known_args(arguments)
    sys.argv = sys.argv[:1]  # the comparisons get their own arguments
    offer(OWN)
    world = DEMO if chosen.world is None else chosen.world.name
    with tempfile.TemporaryDirectory() as temporary:
        for seed in [] if chosen.report else range(chosen.seeds):
            for task in chosen.tasks:
                for examples in chosen.examples or [None]:
                    for evaluations in chosen.evaluations:
                        point = Point(evaluations, examples)
                        fill(seed, task, world, point, chosen, chosen.runs or Path(temporary), overrides)
    every = [search for search in read_kept(chosen.kept) if search.world == world and search.task in chosen.tasks]
    whole, first = [search for search in every if search.examples is None], chosen.evaluations[0]
    asked = [one for one in whole if one.budget in (None, first) and one.method in chosen.methods]
    summary = summarise(cells_of(asked, chosen.seeds), chosen.tasks) if asked else {}
    text = f"World `{world}`: test scores in points"
    if summary:
        text += f", at {first} evaluations of each search; differences with their 95% intervals"
        text += f"\n\n{text_of(summary, chosen.tasks)}"
    drawn = [search for search in every if search.examples is not None and search.budget in (None, first)]
    for curve in (
        curve_text(whole, chosen.seeds, chosen.tasks, "evaluations"),
        curve_text(drawn, chosen.seeds, chosen.tasks, "examples"),
    ):
        text += f"\n\n{curve}" if curve else ""
    if chosen.output is not None:
        budgets = " ".join(map(str, chosen.evaluations))
        command = f"python benchmarks/search_study.py --seeds {chosen.seeds} --evaluations {budgets}"
        command += f" --examples {' '.join(map(str, chosen.examples))}" if chosen.examples else ""
        command += "" if chosen.world is None else f" --world {world}"
        command += flag("tasks", chosen.tasks, TASKS) + flag("methods", chosen.methods, METHODS)
        head = f"# Searches at equal evaluations, on the world `{world}`\n\n`{command}` on {machine()}"
        chosen.output.write_text(f"{head}\n\n{text}\n", encoding="utf-8")
    numbers = {"world": world, "seeds": chosen.seeds, "evaluations": chosen.evaluations, "methods": summary}
    report("search_study", text, numbers)


def fill(
    seed: int, task: str, world: str, point: Point, chosen: argparse.Namespace, runs: Path, overrides: Sequence[str]
) -> None:
    """Run what is not kept of a task and a seed, one method after the other, and keep it.

    Args:
        seed: Of the searches.
        task: Name of the task.
        world: Name of the world.
        point: The budget, and the number of validation examples.
        chosen: The benchmark's settings.
        runs: Folder of the comparisons.
        overrides: Further flags of `swarm compare`.
    """
    kept = {search.key for search in read_kept(chosen.kept)}
    missing = []
    for name in chosen.methods:
        fixed = registry.METHODS[name](CompareSettings()).kind == "fixed" and point.examples is None
        if (world, task, name, None if fixed else seed, budget_of(name, point), point.examples) not in kept:
            missing.append(name)
    if not missing:
        return
    drawn = "" if point.examples is None else f"_{point.examples}_seed_{seed}"
    folder = runs / world / f"{task}_{point.evaluations}{drawn}"
    run(task, seed, missing, point, chosen, folder, overrides)
    new = [search for search in searches_in(folder, world, task, seed, point) if search.key not in kept]
    chosen.kept.parent.mkdir(parents=True, exist_ok=True)
    with chosen.kept.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(search)) + "\n" for search in new)


if __name__ == "__main__":
    main()
