"""One evaluation of a whole swarm on the demo world, against `peft` and against the base model alone.

    python benchmarks/evaluation.py --task neighbours
    python benchmarks/evaluation.py --regime real

What limits it is arithmetic and the number of calls: N x M prompts of some 60 tokens and ten new tokens each, through a
model of 0.9 million weights whose matrices fit the processor's cache. A small batch pays for the calls, a large one
for padding and for memory; the adapters add about 7% to the operations. All early stops are off, so that all sides do
the same work, and all must give the same replies (float32, greedy). The floor is the base model without any adapter,
on as many rows in our own layout. The regime of a pretrained model's size is in `real_regime.py`.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

import real_regime
from demo_gain import TASKS
from demo_world import DemoSwarm, demo_swarm, load_plain
from measuring import count_differences, ratio, report, table, take_turns
from peft_peers import SWAPPED, Plan, fastest, mixing, put_adapters, swapping

LABELS = {
    "plain": "(a) peft, one adapter after the other",
    "best": "(b) the same at its best batch",
    "mixed": "(c) peft, adapters mixed in a batch",
    "floor": "(d) the base alone, the floor",
    "ours": "ours",
}
PEERS = ("plain", "best", "mixed")
SIZES = {
    "demo": {"particles": 20, "examples": 200, "new_tokens": 10},
    "real": {"particles": 4, "examples": 32, "new_tokens": 8},  # a particle's prompts fill a batch of the peer
}
# How many times as long as ours a peer should take; and how many times as long as the floor ours may take.
TARGETS = {"plain": 3.0, "best": 1.3, "mixed": 1.8, "floor": 1.15}


class Ours:
    """This package's evaluation: the only place here that calls it."""

    def __init__(self, swarm: DemoSwarm, rows: int | None = None) -> None:
        """Load the base and put the adapters into it; every early stop is off."""
        from swarm_lightning.evaluation.evaluator import Evaluator
        from swarm_lightning.evaluation.runners.resident import ResidentRunner
        from swarm_lightning.evaluation.settings import EngineSettings
        from swarm_lightning.experts.resident.adapted import AdaptedModel
        from swarm_lightning.experts.resident.base_model import load_base

        model, tokenizer = load_base(str(swarm.base), "float32")
        self.swarm = swarm
        settings = EngineSettings(rows=rows, exact_stop=False, row_stops=False)
        runner = ResidentRunner(AdaptedModel(model, swarm.pool), tokenizer, settings)
        self.evaluator = Evaluator(runner, swarm.objective)

    def evaluate(self) -> list[list[str]]:
        """Return the replies of all particles [N][M]."""
        evaluation = self.evaluator.evaluate(self.swarm.positions, self.swarm.examples, whole_replies=True)
        return [["" if outcome is None else outcome.reply for outcome in row] for row in evaluation.outcomes]

    def floor(self) -> list[list[str]]:
        """Ask the base alone N x M rows, in batches of our own layout."""
        self.evaluator.evaluate_base(self.swarm.examples * len(self.swarm.positions))
        return []


def compare(
    swarm: DemoSwarm, rows: int | None, repeats: int, plans: Sequence[Plan], mixed_plans: Sequence[Plan]
) -> dict[str, Any]:
    """Measure all rows of the table.

    Args:
        swarm: What to evaluate.
        rows: Rows of one of our own forward passes.
        repeats: Turns of the measurement.
        plans: Batches that (b) may choose from; it chooses on its first two particles.
        mixed_plans: Batches that (c) may choose from.

    Returns:
        The numbers as plain values.
    """
    from peft import LoraConfig

    config = LoraConfig.from_pretrained(str(swarm.expert))
    base, tokenizer = load_plain(swarm.base)
    plain = put_adapters(base, config, {SWAPPED: swarm.weights[0]})
    names = {f"particle_{place}": weights for place, weights in enumerate(swarm.weights)}
    mixed = put_adapters(load_plain(swarm.base)[0], config, names)
    ours = Ours(swarm, rows)

    def swap(plan: Plan, particles: int = len(swarm.positions)) -> list[list[str]]:
        return swapping(plain, tokenizer, swarm.weights[:particles], swarm.prompts, plan, swarm.new_tokens)

    def mix(plan: Plan) -> list[list[str]]:
        return mixing(mixed, tokenizer, list(names), swarm.prompts, plan, swarm.new_tokens)

    best, tried = fastest(lambda plan: swap(plan, particles=2), plans)
    best_mixed, tried_mixed = fastest(mix, mixed_plans)
    ways = {
        "plain": lambda: swap(Plan(10)),
        "best": lambda: swap(best),
        "mixed": lambda: mix(best_mixed),
        "floor": ours.floor,
        "ours": ours.evaluate,
    }
    seconds, replies = take_turns(ways, repeats)
    return {
        "seconds": seconds,
        "median": {name: statistics.median(row) for name, row in seconds.items()},
        "times_ours": {name: ratio(seconds, name, "ours") for name in PEERS},
        "ours_times_floor": ratio(seconds, "ours", "floor"),
        "batch": {"plain": str(Plan(10)), "best": str(best), "mixed": str(best_mixed)},
        "tried": {"best": tried, "mixed": tried_mixed},
        "different_replies": {name: count_differences(replies[name], replies["ours"]) for name in PEERS},
    }


def text_of(numbers: dict[str, Any], size: str) -> str:
    """Return the table of what `compare` returned, under a heading."""
    seconds = {name: f"{numbers['median'][name]:.2f}" for name in LABELS}
    rows = []
    for name in PEERS:
        found, target = f"{numbers['times_ours'][name]:.2f} x ours", f">= {TARGETS[name]} x"
        different = str(numbers["different_replies"][name])
        rows.append([LABELS[name], seconds[name], found, target, numbers["batch"][name], different])
    rows.append([LABELS["floor"], seconds["floor"], "", "", "as ours", ""])
    found, target = f"{numbers['ours_times_floor']:.2f} x the floor", f"<= {TARGETS['floor']} x"
    rows.append([LABELS["ours"], seconds["ours"], found, target, "", ""])
    return f"{size}\n\n" + table(["", "seconds", "ratio", "target", "batch", "different replies"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one regime and print its table.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.

    Raises:
        SystemExit: If a peer's reply differs from ours.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regime", default="demo", choices=["demo", "real"], help="the demo world, or SmolLM2's size")
    parser.add_argument("--task", default="neighbours", choices=TASKS)
    parser.add_argument("--particles", type=int, help="N; default: 20, or 4 in the regime `real`")
    parser.add_argument("--examples", type=int, help="M; default: 200, or 32 in the regime `real`")
    parser.add_argument("--new-tokens", type=int, help="the most tokens of a reply; default: 10, or 8")
    parser.add_argument("--rows", type=int, help="of one of our own forward passes; default: as a search takes them")
    parser.add_argument("--repeats", type=int, default=3, help="turns; the medians over them are printed")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128, 200], help="tried for (b)")
    parser.add_argument("--mixed-batches", type=int, nargs="+", default=[100, 200, 500, 1000, 2000], help="for (c)")
    parser.add_argument("--seed", type=int, default=0, help="of the particles that are children of experts")
    real_regime.add_arguments(parser.add_argument_group("the regime `real`"))
    chosen = parser.parse_args(arguments)
    for name, value in SIZES[chosen.regime].items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, value)
    import torch

    torch.set_num_threads(chosen.threads)
    settings = {name: value for name, value in vars(chosen).items() if name not in ("batches", "mixed_batches")}
    if chosen.regime == "real":
        real = real_regime.real_swarm(chosen)
        numbers = real_regime.compare(real, chosen.rows, chosen.repeats, chosen.peer_batch, chosen.clock)
        report("evaluation", real_regime.text_of(numbers, real, chosen.peer_batch), {**settings, **numbers})
        different = {kind: numbers[kind]["different_replies"] for kind in real_regime.KINDS}
    else:
        swarm = demo_swarm(chosen.task, chosen.particles, chosen.examples, chosen.new_tokens, chosen.seed)
        plans = [Plan(rows, by_length) for by_length in (False, True) for rows in chosen.batches]
        mixed_plans = [Plan(rows, by_length=True) for rows in chosen.mixed_batches]
        numbers = compare(swarm, chosen.rows, chosen.repeats, plans, mixed_plans)
        size = (
            f"{chosen.task}: {len(swarm.positions)} particles x {len(swarm.examples)} examples, at most "
            f"{chosen.new_tokens} new tokens, {chosen.repeats} turns"
        )
        report("evaluation", text_of(numbers, size), {**settings, **numbers})
        different = numbers["different_replies"]
    # In half precision a row's last digits depend on what shares its batch.
    if any(different.values()) and (chosen.regime, chosen.dtype) != ("real", "bfloat16"):
        raise SystemExit(f"Expected the same replies from all, but some differ: {different}.")


if __name__ == "__main__":
    main()
