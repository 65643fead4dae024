"""What it takes to fit experts anew, against asking all of them the same examples once.

    python benchmarks/refit.py

A fit reads the examples' prompts twice, sums up one matrix of every layer's inputs and solves one linear system for
every layer, and one more for every fold in the first round; what it leaves out is asked once. All of that is measured
here. The second world is random and has the width and the vocabulary of a small real model (SmolLM2 135M), of which it
is the first layers. Beside the seconds stands the largest memory that the inputs' matrices take at a time.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

import torch

from demo_gain import TASKS
from measuring import ratio, report, table, take_turns
from products import World, demo, wide

LABELS = {"experts": "all experts, asked once by the guide", "fit": "a fit of all experts"}


def measure(world: World, repeats: int) -> dict[str, Any]:
    """Measure both.

    Args:
        world: What is asked and read.
        repeats: Turns of the measurement.

    Returns:
        The numbers as plain values.
    """
    from swarm_lightning.evaluation.evaluator import Evaluator
    from swarm_lightning.evaluation.refitting import refit_experts
    from swarm_lightning.evaluation.runners.resident import ResidentRunner
    from swarm_lightning.experts.products.division import GroupedProducts
    from swarm_lightning.experts.products.model import ProductModel
    from swarm_lightning.experts.products.products import Groups, Products
    from swarm_lightning.experts.products.refit import FOLDS
    from swarm_lightning.experts.resident.adapted import AdaptedModel
    from swarm_lightning.objectives.guides import guide_of

    pool, examples = world.pool, world.examples
    products = Products.of(pool.adapters()).doubled()
    groups = Groups.of(products, "module")
    model = ProductModel(AdaptedModel(world.base, pool), products, groups)
    evaluator = Evaluator(ResidentRunner(model, world.tokenizer), guide_of(world.objective))
    count = len(pool.names)
    experts, weights = groups.spread(torch.eye(count)), torch.full((count,), 1 / count)
    scores = evaluator.evaluate(experts, examples).scores
    found: dict[str, float] = {}

    def ask(fold: int, coefficients: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        return evaluator.evaluate(coefficients[None], examples, wanted=asked[None]).scores[0]

    def fit() -> None:
        made = refit_experts(evaluator, GroupedProducts(products, groups), scores, weights, examples, ask)
        found["utility"], found["passes"] = made.utility, made.passes

    ways = {"experts": lambda: evaluator.evaluate(experts, examples), "fit": fit}
    seconds, _ = take_turns(ways, repeats)
    widths = [down.shape[1] for down in products.downs]
    return {
        "seconds": {name: statistics.median(row) for name, row in seconds.items()},
        "times_experts": {name: ratio(seconds, name, "experts") for name in LABELS},
        "examples": len(examples),
        "experts": count,
        "layers": len(widths),
        "widest": max(widths),
        "matrices_mb": 8 * FOLDS * sum(width**2 for width in widths) / 1e6,
        "read": found["passes"],
        "utility": found["utility"],
        "utility_of_mean": float(evaluator.evaluate(groups.spread(weights)[None], examples).utilities[0]),
    }


def text_of(name: str, numbers: dict[str, Any]) -> str:
    """Return the table of what `measure` returned, with a line before and after it."""
    rows = [
        [label, f"{numbers['seconds'][way]:.2f}", f"{numbers['times_experts'][way]:.2f} x"]
        for way, label in LABELS.items()
    ]
    note = (
        f"{numbers['layers']} layers, inputs of up to {numbers['widest']} numbers, whose matrices take "
        f"{numbers['matrices_mb']:.0f} MB at most; the guide's utility of the mean is "
        f"{numbers['utility_of_mean']:.4f}, of fits on what they left out {numbers['utility']:.4f}"
    )
    header = ["", "s", "to the experts"]
    return f"{name}: {numbers['experts']} experts, {numbers['examples']} examples\n\n{table(header, rows)}\n\n{note}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, default="atlas", help="of the demo world")
    parser.add_argument("--examples", type=int, default=200, help="M on the demo world, 200 at most")
    parser.add_argument("--wide-examples", type=int, default=100, help="M on the random world")
    parser.add_argument("--new-tokens", type=int, default=4, help="the most tokens of a reply")
    parser.add_argument("--hidden", type=int, default=576, help="width of the random world")
    parser.add_argument("--layers", type=int, default=3, help="of the random world")
    parser.add_argument("--vocabulary", type=int, default=49152, help="of the random world")
    parser.add_argument("--rank", type=int, default=8, help="of the random world's experts, on all linear layers")
    parser.add_argument("--repeats", type=int, default=5, help="turns; the medians over them are printed")
    parser.add_argument("--seed", type=int, default=0, help="of the random world")
    chosen = parser.parse_args(arguments)
    worlds = (("demo world", demo), ("random world", wide))
    found = {name: measure(make(chosen), chosen.repeats) for name, make in worlds}
    text = "\n\n".join(text_of(name, numbers) for name, numbers in found.items())
    report("refit", text, {**vars(chosen), "worlds": found})


if __name__ == "__main__":
    main()
