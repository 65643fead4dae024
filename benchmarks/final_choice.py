"""What a search by an evolution strategy should hand over: ways to choose among a few candidates, on the test split.

    python benchmarks/final_choice.py --runs runs/final_choice --output benchmarks/results/final_choice.md

What limits it is arithmetic: the strategy asks `--evaluations` pairs of a model and an example, on every task with
every seed, once with all 200 validation examples and once with three quarters of them. It follows the smooth guide and
begins with the best of a few sums of the experts' products. Then the best expert, the mean of the products, their
greedy soup, the beginning, the last centre and the mean of the last centres are asked the validation and the test
examples by the objective, and every way to choose is computed from these two tables:

- always: the mean of the last centres, unasked.
- highest: the highest validation utility, of equal ones the simplest.
- one error: the simplest within one standard error, of the paired differences, of the highest.
- quarter: the highest on the quarter that the search has not seen.
- quarter, one error: the same with the standard error.

A way is picked on two tasks (neighbours, atlas) and confirmed on the other two. `best possible` takes the highest test
score, which nobody knows, and bounds what choosing can bring.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo_gain import TASKS, compare_on
from measuring import flag, machine, report, table
from swarm_lightning.baselines import registry
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind, Method
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.data.examples import Example
from swarm_lightning.swarm import evolution
from swarm_lightning.swarm.evolution import EvolutionSettings
from swarm_lightning.swarm.starts import starts_of

PICKED_ON = ("neighbours", "atlas")
CANDIDATES = ("best expert", "mean", "greedy soup", "start", "last centre", "mean of the last")
AVERAGE = len(CANDIDATES) - 1
SHARES = {"all": 1.0, "three_quarters": 0.75}


@dataclass
class Recorded:
    """The strategy as a method that writes down what all candidates score.

    Attributes:
        title: Its name in the table.
        share: Of the validation examples that it may ask.
        folder: Where the score tables go.
    """

    title: str
    share: float
    folder: Path
    kind: Kind = "search"
    least: int = 2

    def compose(self, bench: Bench) -> Composition:
        """Search, and hand over the mean of the last centres."""
        settings = EvolutionSettings()
        products = ProductBench(bench, "greedy soup", "module", guided=True)
        count, examples = len(bench.names), len(bench.examples)
        places = torch.randperm(examples, generator=bench.generator)[: round(self.share * examples)]
        seen = torch.zeros(examples, dtype=torch.bool)
        seen[places] = True

        def guide(weights: Tensor) -> Tensor:
            return products.utilities(products.groups.spread(weights), seen.expand(len(weights), -1))

        starts = starts_of(bench.names, guide(torch.eye(count)), guide, bench.affordable)
        spent_later = len(CANDIDATES) * examples
        assert bench.budget is not None
        pairs = settings.pairs(bench.budget - bench.spent - spent_later, len(places))
        beginning = products.groups.spread(starts.best.weights[None])[0]
        centre = evolution.begin(beginning, len(places), bench.generator)
        for step in range(settings.steps):
            centre, asked = evolution.ask(centre, settings, pairs, bench.generator)
            wanted = torch.zeros(len(asked.candidates), examples, dtype=torch.bool)
            wanted[:, places] = asked.wanted
            utilities = products.utilities(asked.candidates, wanted)
            centre = evolution.tell(centre, settings, evolution.step_length_of(settings, step), asked, utilities)
        soup = next(start.weights for start in starts.tried if start.name.startswith("greedy soup"))
        simple = torch.stack([starts.tried[0].weights, torch.full((count,), 1 / count), soup])
        found = [centre.position.float(), evolution.found(centre, settings)]
        candidates = torch.cat([products.groups.spread(simple), beginning[None], torch.stack(found)]).float()
        kept: dict[str, Any] = {"start": starts.best.name, "seen": seen.tolist()}
        evaluation = products.evaluator.evaluate(candidates, bench.examples, whole_replies=True)
        kept["validation"] = evaluation.scores.tolist()

        def scores(test: Sequence[Example]) -> Tensor:
            tested = products.evaluator.evaluate(candidates, test, whole_replies=True).scores
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.folder / f"{self.title}_seed_{bench.seed}.json"
            file.write_text(json.dumps({**kept, "test": tested.tolist()}), encoding="utf-8")
            return tested[AVERAGE]

        return Composition(float(evaluation.utilities[AVERAGE]), starts.best.name, scores=scores)


def highest(scores: Tensor) -> int:
    """Return the place of the highest mean; of equal ones the first.

    Args:
        scores: Of C candidates, the simplest first [C, M].
    """
    return int(scores.mean(dim=1).argmax())


def within_one_error(scores: Tensor) -> int:
    """Return the place of the simplest that is within one standard error of the highest.

    Args:
        scores: Of C candidates, the simplest first [C, M].

    >>> within_one_error(torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]))
    1
    """
    best = highest(scores)
    differences = scores[best] - scores
    errors = differences.std(dim=1) / differences.shape[1] ** 0.5
    return int((differences.mean(dim=1) <= errors).nonzero()[0])


Rule = Callable[[Tensor], int]
# Way -> which of the two searches, whether it chooses by what that one has not seen, and how.
WAYS: Mapping[str, tuple[str, bool, Rule]] = {
    "always": ("all", False, lambda scores: AVERAGE),
    "highest": ("all", False, highest),
    "one error": ("all", False, within_one_error),
    "quarter": ("three_quarters", True, highest),
    "quarter, one error": ("three_quarters", True, within_one_error),
}


def chosen_by(way: str, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return what a way has chosen on one task with one seed.

    Args:
        way: One of `WAYS`.
        tables: What was written down of either search.

    Returns:
        `choice` (its place among `CANDIDATES`), `validation` and `test` in points.
    """
    name, held_back, rule = WAYS[way]
    kept = tables[name]
    validation = torch.tensor(kept["validation"], dtype=torch.float64)
    if held_back:
        validation = validation[:, ~torch.tensor(kept["seen"])]
    choice = rule(validation)
    return {
        "choice": choice,
        "validation": 100 * float(validation[choice].mean()),
        "test": 100 * statistics.mean(kept["test"][choice]),
    }


def summarise(found: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]]) -> dict[str, Any]:
    """Return what every way and every candidate scores.

    Args:
        found: Task -> by seed what was written down of either search.

    Returns:
        `ways`: way -> `tasks` (task -> means of `validation` and `test`), `picked_on` and `confirmed_on` (mean test of
        the two groups of tasks), `chosen` (candidate -> how often). `candidates`: the same of every candidate of the
        search on all examples. `best possible`: of the highest test score among those.
    """
    every = {way: {task: [chosen_by(way, one) for one in runs] for task, runs in found.items()} for way in WAYS}
    fixed: dict[str, dict[str, list[dict[str, float]]]] = {"best possible": {}}
    for task, runs in found.items():
        tables = [
            {split: torch.tensor(one["all"][split]).mean(dim=1) * 100 for split in ("validation", "test")}
            for one in runs
        ]
        for place, name in enumerate(CANDIDATES):
            rows = [{split: float(values[place]) for split, values in one.items()} for one in tables]
            fixed.setdefault(name, {})[task] = rows
        bests = [(int(one["test"].argmax()), one) for one in tables]
        fixed["best possible"][task] = [
            {split: float(values[place]) for split, values in one.items()} for place, one in bests
        ]
    ways = {way: _means(tasks) for way, tasks in every.items()}
    for way, tasks in every.items():
        choices = [CANDIDATES[int(one["choice"])] for runs in tasks.values() for one in runs]
        ways[way]["chosen"] = {name: choices.count(name) for name in CANDIDATES if name in choices}
    return {"ways": ways, "candidates": {name: _means(tasks) for name, tasks in fixed.items()}}


def _utilities(kept: Mapping[str, Any]) -> dict[str, Tensor]:
    return {split: 100 * torch.tensor(kept[split], dtype=torch.float64).mean(dim=1) for split in ("validation", "test")}


def _means(tasks: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    means = {
        task: {split: statistics.mean(one[split] for one in runs) for split in ("validation", "test")}
        for task, runs in tasks.items()
    }
    groups = {
        "picked_on": [task for task in means if task in PICKED_ON],
        "confirmed_on": [task for task in means if task not in PICKED_ON],
    }
    mean = {group: statistics.mean(means[task]["test"] for task in names) for group, names in groups.items() if names}
    return {"tasks": means, **mean}


def text_of(summary: Mapping[str, Any]) -> str:
    """Return the two tables.

    Args:
        summary: What `summarise` returned.
    """
    texts = []
    for key, title in (("ways", "way to choose"), ("candidates", "candidate")):
        rows = []
        for name, row in summary[key].items():
            pairs = [f"{one['validation']:.1f} / {one['test']:.1f}" for one in row["tasks"].values()]
            means = [f"{row[group]:.2f}" if group in row else "" for group in ("picked_on", "confirmed_on")]
            chosen = ", ".join(f"{candidate} {count}" for candidate, count in row.get("chosen", {}).items())
            rows.append([name, *pairs, *means, *([chosen] if key == "ways" else [])])
        tasks = list(next(iter(summary[key].values()))["tasks"])
        header = [title, *tasks, "test, neighbours and atlas", "test, others"]
        texts.append(table([*header, *(["chosen"] if key == "ways" else [])], rows))
    return "\n\n".join(texts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, choose, print the tables, and keep them where that is asked for; further arguments go to `swarm compare`.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, counted from 0")
    parser.add_argument("--evaluations", type=int, default=44_000, help="(model, example) pairs of a search")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--runs", type=Path, help="folder of the runs, to go on in; a temporary one if left out")
    parser.add_argument("--output", type=Path, help="file for the tables and the numbers (Markdown)")
    chosen, overrides = parser.parse_known_args(arguments)
    sys.argv = sys.argv[:1]  # the comparisons get their own arguments
    methods = registry.METHODS
    with tempfile.TemporaryDirectory() as temporary:
        root = chosen.runs or Path(temporary)
        for task in chosen.tasks:

            def method(name: str, folder: Path, settings: CompareSettings) -> Method:
                return Recorded(name, SHARES[name], folder)

            folder = root / task
            registry.METHODS = {**methods, **{name: partial(method, name, folder / "tables") for name in SHARES}}
            settings = ["--compare.methods", json.dumps(list(SHARES)), "--compare.evaluations", str(chosen.evaluations)]
            settings += ["--compare.seeds", str(list(range(chosen.seeds)))]
            compare_on(task, folder, [*settings, *overrides])
        registry.METHODS = methods
        found = {
            task: [
                {
                    name: json.loads((root / task / "tables" / f"{name}_seed_{seed}.json").read_text(encoding="utf-8"))
                    for name in SHARES
                }
                for seed in range(chosen.seeds)
            ]
            for task in chosen.tasks
        }
    summary = summarise(found)
    text = (
        f"Validation / test in points, means of {chosen.seeds} seeds; {chosen.evaluations} evaluations of each "
        f"search\n\n{text_of(summary)}"
    )
    if chosen.output is not None:
        command = f"python benchmarks/final_choice.py --seeds {chosen.seeds} --evaluations {chosen.evaluations}"
        command += flag("tasks", chosen.tasks, TASKS)
        chosen.output.write_text(
            f"# What a search should hand over\n\n`{command}` on {machine()}\n\n{text}\n", encoding="utf-8"
        )
    report("final_choice", text, {"seeds": chosen.seeds, "evaluations": chosen.evaluations, **summary})


if __name__ == "__main__":
    main()
