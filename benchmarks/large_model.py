"""Evaluation of a swarm on a language model of about one billion weights, against `peft` and against the roofline.

    python benchmarks/large_model.py

What limits it on a GPU: the prompts are arithmetic (2 operations per weight and token), the reply is memory traffic
(every step reads all weights of the base once, and the keys and values of its rows). The more particles ride in one
pass, the more tokens share one reading of the base; in the end the cache and the arithmetic limit. See `roofline.py`
for the bound that is printed.

Everything is random and made from seeds; see `random_world.py`. Without a GPU a tiny model runs on the CPU, which
checks the script and says nothing about speed. The time of `peft` is proportional to the number of particles, one
after the other, so it is measured on few of them and given as tokens per second.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from measuring import count_differences, ratio, report, table, take_turns
from peft_peers import SWAPPED, Plan, fastest, put_adapters, swapping
from random_world import SIZES, lora_settings, random_adapters, random_base, random_prompts, random_tokenizer
from roofline import Rates, least_seconds, measured_rates

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TARGETS = {"plain": 4.0, "best": 2.0}
LABELS = {"plain": "(a) peft, batch of 10", "best": "(b) peft, its best batch"}


class Ours:
    """This package's evaluation: the only place here that calls it."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        adapters: list[dict[str, Tensor]],
        rank: int,
    ) -> None:
        """Put the adapters into the base; every early stop is off."""
        from swarm_lightning.experts.layout import Layout
        from swarm_lightning.experts.pool import ExpertPool
        from swarm_lightning.experts.resident.adapted import AdaptedModel

        layout = Layout.of(adapters[0])
        positions = torch.stack([layout.flatten(tensors) for tensors in adapters])
        names = tuple(f"particle_{place}" for place in range(len(adapters)))
        config = lora_settings(rank).to_dict()
        pool = ExpertPool(names, names, positions, layout, config, "random")
        self.adapted, self.tokenizer = AdaptedModel(model, pool), tokenizer
        self.positions = positions.to(model.device)

    def evaluate(self, particles: int, prompts: Sequence[str], new_tokens: int, per_pass: int) -> list[list[str]]:
        """Return the replies of the first P particles, which ride in one pass with `per_pass` prompts each [P][M]."""
        from swarm_lightning.data.examples import Example
        from swarm_lightning.evaluation.evaluator import Evaluator
        from swarm_lightning.evaluation.runners.resident import ResidentRunner
        from swarm_lightning.evaluation.settings import EngineSettings
        from swarm_lightning.objectives import ExactMatch

        objective = ExactMatch(template="{question}", max_new_tokens=new_tokens)
        rows = particles * per_pass
        settings = EngineSettings(rows=rows, particles=particles, exact_stop=False, row_stops=False)
        runner = ResidentRunner(self.adapted, self.tokenizer, settings)
        evaluator = Evaluator(runner, objective)
        examples = [Example(question=prompt, answer="w3") for prompt in prompts]
        evaluation = evaluator.evaluate(self.positions[:particles], examples, whole_replies=True)
        return [["" if outcome is None else outcome.reply for outcome in row] for row in evaluation.outcomes]


@dataclass(frozen=True)
class Rivals:
    """What is measured, on one machine.

    Attributes:
        base: The base, for its measures.
        peft_model: A copy of it with one adapter.
        peer_adapters: The particles that `peft` is measured on.
        ours: This package's evaluation.
        tokenizer: The base's.
        prompts: M texts.
        rates: What the machine does per second.
    """

    base: "PreTrainedModel"
    peft_model: "PeftModel"
    peer_adapters: list[dict[str, Tensor]]
    ours: Ours
    tokenizer: "PreTrainedTokenizerBase"
    prompts: list[str]
    rates: Rates


def make_rivals(chosen: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> tuple[Rivals, str]:
    """Make everything from seeds; return it with a description."""
    size, longest = SIZES[chosen.size], chosen.longest + max(chosen.new_tokens)
    base, twin = (random_base(size, dtype, device, longest, chosen.seed) for _ in range(2))
    weights = sum(parameter.numel() for parameter in base.parameters())
    adapters = random_adapters(base, chosen.particles, chosen.rank, chosen.seed)
    tokenizer = random_tokenizer(size.vocabulary)
    prompts = random_prompts(chosen.prompts, chosen.shortest, chosen.longest, size.vocabulary, chosen.seed)
    rates = measured_rates(device, dtype)
    peft_model = put_adapters(twin, lora_settings(chosen.rank), {SWAPPED: adapters[0]})
    ours = Ours(base, tokenizer, adapters, chosen.rank)
    heading = (
        f"{device}, {str(dtype).removeprefix('torch.')}: {weights / 1e6:.1f} million weights, "
        f"{sum(tensor.numel() for tensor in adapters[0].values()) / 1e6:.2f} million per adapter (rank {chosen.rank}); "
        f"{chosen.prompts} prompts of {chosen.shortest} to {chosen.longest} tokens; "
        f"copy {rates.bandwidth / 1e9:.0f} GB/s, matrices {rates.operations / 1e12:.2f} TFLOP/s"
    )
    return Rivals(base, peft_model, adapters[: chosen.peer_particles], ours, tokenizer, prompts, rates), heading


def measure(rivals: Rivals, new_tokens: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure replies of one length: the peers, and ours at every P; return plain values."""
    prompts, particles = rivals.prompts, len(rivals.peer_adapters)
    swap = partial(swapping, rivals.peft_model, rivals.tokenizer, rivals.peer_adapters, prompts, new_tokens=new_tokens)
    best, tried = fastest(lambda plan: swap(plan=plan), [Plan(rows, True) for rows in chosen.batches], tries=1)
    passes = {f"P={count}": count for count in chosen.particles_per_pass}
    per_pass = min(chosen.examples_per_pass, len(prompts))
    ways = {"plain": partial(swap, plan=Plan(10)), "best": partial(swap, plan=best)}
    ways |= {
        name: partial(rivals.ours.evaluate, count, prompts, new_tokens, per_pass) for name, count in passes.items()
    }
    seconds, replies = take_turns(ways, chosen.repeats, warm_up=not chosen.no_warm_up)

    counts = {"plain": particles, "best": particles, **passes}
    asked = {name: count * len(prompts) * new_tokens for name, count in counts.items()}
    speed = {name: asked[name] / statistics.median(row) for name, row in seconds.items()}
    lengths = [len(prompt.split()) for prompt in prompts]
    least = {
        name: least_seconds(rivals.base, lengths, count, per_pass, new_tokens, rivals.rates)
        for name, count in passes.items()
    }
    fast = max(passes, key=lambda name: speed[name])
    per_particle = {name: [one / counts[name] for one in row] for name, row in seconds.items()}
    shared = min(particles, passes[fast])
    ours = replies[fast][:shared]
    return {
        "seconds": seconds,
        "tokens_per_second": speed,
        "roofline_tokens_per_second": {name: asked[name] / least[name] for name in passes},
        "fastest_of_ours": fast,
        "times_ours": {name: ratio(per_particle, name, fast) for name in LABELS},
        "rows": {"plain": str(Plan(10)), "best": str(best)} | {name: f"{passes[name]} x {per_pass}" for name in passes},
        "tried": tried,
        "different_replies": {name: count_differences(replies[name][:shared], ours) for name in LABELS},
        "compared_replies": shared * len(prompts),
        "distinct_replies": len({reply for row in replies[fast] for reply in row}),
    }


def text_of(numbers: dict[str, Any], new_tokens: int) -> str:
    """Return the table of what `measure` returned, with a line before and after it."""
    speed, bound, fast = numbers["tokens_per_second"], numbers["roofline_tokens_per_second"], numbers["fastest_of_ours"]
    rows = []
    for name in speed:
        if name in LABELS:
            cells = ["", f"{numbers['times_ours'][name]:.2f} x", f">= {TARGETS[name]} x"]
        else:
            cells = [f"{100 * speed[name] / bound[name]:.0f}% of {bound[name]:.0f}", "", ""]
        rows.append([LABELS.get(name, f"ours, {name}"), numbers["rows"][name], f"{speed[name]:.0f}", *cells])
    header = ["", "batch", "tokens/s", "roofline", f"to ours at {fast}", "target"]
    different = ", ".join(f"{LABELS[name]}: {count}" for name, count in numbers["different_replies"].items())
    note = f"replies that differ from ours, of {numbers['compared_replies']}: {different}"
    return f"{new_tokens} new tokens\n\n{table(header, rows)}\n\n{note}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.

    Raises:
        SystemExit: If a peer's reply differs from ours in float32. In bfloat16 the order of sums changes replies.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, help="default: 1b on a GPU, tiny without one")
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="default: bfloat16 on a GPU, else float32")
    parser.add_argument("--particles", type=int, default=20, help="N")
    parser.add_argument("--particles-per-pass", type=int, nargs="+", default=[1, 2, 5, 10, 20], help="P, each <= N")
    parser.add_argument("--peer-particles", type=int, default=1, help="particles that the peers are measured on")
    parser.add_argument("--prompts", type=int, default=200, help="M")
    parser.add_argument("--examples-per-pass", type=int, default=50, help="prompts of a particle in one pass of ours")
    parser.add_argument("--shortest", type=int, default=100, help="tokens of the shortest prompt")
    parser.add_argument("--longest", type=int, default=300, help="tokens of the longest prompt")
    parser.add_argument("--new-tokens", type=int, nargs="+", default=[10, 200], help="tokens of every reply")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters, on all linear layers")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 100, 200], help="tried for (b)")
    parser.add_argument("--repeats", type=int, default=3, help="turns; the medians over them are printed")
    parser.add_argument("--no-warm-up", action="store_true", help="count the first turn too")
    parser.add_argument("--seed", type=int, default=0, help="of weights, adapters and prompts")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    chosen.size = chosen.size or ("1b" if device.type == "cuda" else "tiny")
    chosen.dtype = chosen.dtype or ("bfloat16" if device.type == "cuda" else "float32")
    rivals, heading = make_rivals(chosen, device, getattr(torch, chosen.dtype))
    results = {new: measure(rivals, new, chosen) for new in chosen.new_tokens}
    text = "\n\n".join([heading, *(text_of(numbers, new) for new, numbers in results.items())])
    numbers = {"device": str(device), "rates": rivals.rates._asdict(), "results": results}
    report("large_model", text, {**vars(chosen), **numbers})
    different = {new: row["different_replies"] for new, row in results.items()}
    if chosen.dtype == "float32" and any(count for row in different.values() for count in row.values()):
        raise SystemExit(f"Expected the same replies from all in float32, but some differ: {different}.")


if __name__ == "__main__":
    main()
