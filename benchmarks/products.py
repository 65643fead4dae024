"""One evaluation of a swarm of coefficients on products, against a swarm of adapters stacked beside the same base.

    python benchmarks/products.py

What limits it is arithmetic. Beside a layer's in x out multiplications for every token, a particle with A and B of its
own takes r (in + out), batched over particles; a particle of coefficients takes n r (in + out), for all experts'
components, but in two plain products that all particles share, and nothing is laid out for a particle: it is C numbers
in place of D. Where n r (in + out) comes near in x out, as on the demo world with its narrow layers, that shows.

Both sides run in our own evaluation with all early stops off, in float32, and must give the same replies for the
experts themselves. The floor is the base alone on as many rows. The second world is random and has the width and the
vocabulary of a small real model (SmolLM2 135M), of which it is the first layers.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from demo_gain import TASKS
from demo_world import demo_swarm
from measuring import count_differences, ratio, report, table, take_turns
from random_world import Size, lora_settings, random_adapters, random_base, random_prompts, random_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from swarm_lightning.data.examples import Example
    from swarm_lightning.experts.pool import ExpertPool
    from swarm_lightning.experts.resident.resident import ResidentModel
    from swarm_lightning.objectives import ExactMatch, MultipleChoice

LABELS = {
    "floor": "the base alone, the floor",
    "stacked": "A and B of every particle, stacked",
    "products": "coefficients of the experts' products",
}


@dataclass(frozen=True)
class World:
    """What is evaluated.

    Attributes:
        base: The base model.
        tokenizer: The base's.
        pool: The n experts.
        examples: What every particle is asked, M examples.
        objective: How it is asked.
    """

    base: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    pool: "ExpertPool"
    examples: "list[Example]"
    objective: "ExactMatch | MultipleChoice"


def demo(chosen: argparse.Namespace) -> World:
    """Return the demo world."""
    from swarm_lightning.experts.resident.base_model import load_base

    swarm = demo_swarm(chosen.task, 10, chosen.examples, chosen.new_tokens, chosen.seed)
    base, tokenizer = load_base(str(swarm.base), "float32")
    return World(base, tokenizer, swarm.pool, swarm.examples, swarm.objective)


def wide(chosen: argparse.Namespace) -> World:
    """Return a random world with the vocabulary of a real model."""
    from swarm_lightning.data.examples import Example
    from swarm_lightning.experts.layout import Layout
    from swarm_lightning.experts.pool import ExpertPool
    from swarm_lightning.objectives import ExactMatch

    size = Size(chosen.hidden, 8 * chosen.hidden // 3, chosen.layers, 9, 3, chosen.vocabulary)
    base = random_base(size, torch.float32, torch.device("cpu"), 64, chosen.seed)
    adapters = random_adapters(base, 10, chosen.rank, chosen.seed)
    layout = Layout.of(adapters[0])
    names = tuple(f"expert_{place}" for place in range(len(adapters)))
    vectors = torch.stack([layout.flatten(tensors) for tensors in adapters])
    pool = ExpertPool(names, names, vectors, layout, lora_settings(chosen.rank).to_dict(), "random")
    prompts = random_prompts(chosen.wide_examples, 20, 40, size.vocabulary, chosen.seed)
    objective = ExactMatch(template="{question}", max_new_tokens=chosen.new_tokens)
    examples = [Example(prompt, "w3") for prompt in prompts]
    return World(base, random_tokenizer(size.vocabulary), pool, examples, objective)


def measure(world: World, granularity: Any, particles: int, repeats: int, rows: int | None) -> dict[str, Any]:
    """Measure both sides and the floor.

    Args:
        world: What is evaluated.
        granularity: Of the coefficients.
        particles: Number of particles P, the experts first.
        repeats: Turns of the measurement.
        rows: Rows of one forward pass; None for the free memory.

    Returns:
        The numbers as plain values.
    """
    from swarm_lightning.evaluation.evaluator import Evaluator
    from swarm_lightning.evaluation.runners.resident import ResidentRunner
    from swarm_lightning.evaluation.settings import EngineSettings
    from swarm_lightning.experts.products.model import ProductModel
    from swarm_lightning.experts.products.products import Groups, Products
    from swarm_lightning.experts.resident.adapted import AdaptedModel
    from swarm_lightning.swarm.population import grow_population

    pool, examples = world.pool, world.examples
    products = Products.of(pool.adapters())
    groups = Groups.of(products, granularity)
    adapted = AdaptedModel(world.base, pool)
    settings = EngineSettings(rows=rows, exact_stop=False, row_stops=False)

    def evaluator(resident: "ResidentModel") -> Evaluator[ResidentRunner]:
        return Evaluator(ResidentRunner(resident, world.tokenizer, settings), world.objective)

    def grown(experts: torch.Tensor) -> torch.Tensor:
        count = max(particles, len(experts))
        return grow_population(experts, count, 1.0, torch.Generator().manual_seed(0))[:particles].clone()

    positions, coefficients = grown(pool.vectors), grown(groups.spread(torch.eye(len(pool.names))))
    stacked, weighed = evaluator(adapted), evaluator(ProductModel(adapted, products, groups))

    def replies(side: Evaluator[ResidentRunner], candidates: torch.Tensor) -> list[list[str]]:
        evaluation = side.evaluate(candidates, examples, whole_replies=True)
        return [["" if outcome is None else outcome.reply for outcome in row] for row in evaluation.outcomes]

    def floor() -> list[list[str]]:
        stacked.evaluate_base(examples * particles)
        return []

    ways = {
        "floor": floor,
        "stacked": lambda: replies(stacked, positions),
        "products": lambda: replies(weighed, coefficients),
    }
    seconds, found = take_turns(ways, repeats)
    experts = min(particles, len(pool.names))
    of_layers = [layer for layer in world.base.modules() if isinstance(layer, torch.nn.Linear)]
    return {
        "seconds": {name: statistics.median(row) for name, row in seconds.items()},
        "times_stacked": {name: ratio(seconds, name, "stacked") for name in LABELS},
        "different_replies": count_differences(found["stacked"][:experts], found["products"][:experts]),
        "compared_replies": experts * len(examples),
        "numbers_of_a_particle": {"stacked": pool.layout.size, "products": groups.size},
        "weights": sum(layer.weight.numel() for layer in of_layers),
        "components": {"stacked": max(products.ranks), "products": max(groups.rows)},
        "examples": len(examples),
    }


def text_of(name: str, numbers: dict[str, Any], particles: int) -> str:
    """Return the table of what `measure` returned, with a line before and after it."""
    rows = []
    for way, label in LABELS.items():
        seconds, times = numbers["seconds"][way], numbers["times_stacked"][way]
        held, width = (str(numbers[key].get(way, "")) for key in ("numbers_of_a_particle", "components"))
        rows.append([label, f"{seconds:.2f}", f"{times:.2f} x", width, held])
    header = ["", "s", "to stacked", "components a row", "numbers a particle"]
    note = f"replies of the experts that differ: {numbers['different_replies']} of {numbers['compared_replies']}"
    return f"{name}: {particles} particles, {numbers['examples']} examples each\n\n{table(header, rows)}\n\n{note}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.

    Raises:
        SystemExit: If a reply of an expert differs.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, default="neighbours", help="of the demo world")
    parser.add_argument("--granularity", default="module", help="of the coefficients")
    parser.add_argument("--particles", type=int, default=20, help="P")
    parser.add_argument("--examples", type=int, default=100, help="M on the demo world, 200 at most")
    parser.add_argument("--wide-examples", type=int, default=8, help="M on the random world")
    parser.add_argument("--new-tokens", type=int, default=4, help="the most tokens of a reply")
    parser.add_argument("--hidden", type=int, default=576, help="width of the random world")
    parser.add_argument("--layers", type=int, default=3, help="of the random world")
    parser.add_argument("--vocabulary", type=int, default=49152, help="of the random world")
    parser.add_argument("--rank", type=int, default=8, help="of the random world's experts, on all linear layers")
    parser.add_argument("--rows", type=int, help="rows of one forward pass at most; default: from the free memory")
    parser.add_argument("--repeats", type=int, default=5, help="turns; the medians over them are printed")
    parser.add_argument("--seed", type=int, default=0, help="of the random world")
    chosen = parser.parse_args(arguments)
    found = {
        name: measure(make(chosen), chosen.granularity, chosen.particles, chosen.repeats, chosen.rows)
        for name, make in (("demo world", demo), ("random world", wide))
    }
    text = "\n\n".join(text_of(name, numbers, chosen.particles) for name, numbers in found.items())
    report("products", text, {**vars(chosen), "worlds": found})
    if any(numbers["different_replies"] for numbers in found.values()):
        raise SystemExit("Expected the experts to reply the same as adapters and as products, but some differ.")


if __name__ == "__main__":
    main()
