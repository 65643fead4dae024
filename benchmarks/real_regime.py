"""One evaluation at a pretrained model's size, against `peft` and against the base model alone.

What limits it is arithmetic: with 135 million weights and a vocabulary of 49,152 tokens, the forward pass is nearly
everything, and what can be won is what need not be computed: padding, logits that nobody reads, prompts that are read
again for every choice. The weights are random, with the measures of SmolLM2-135M; all early stops are off. The peers
take one adapter after the other, in batches sorted by length, and make logits of the last places only
(`logits_to_keep`); for the likelihood of choices they repeat the prompt before every choice. All must reply alike
(float32, greedy). The floor is the base without any adapter, on as many rows in our own layout.
"""

import argparse
import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from measuring import count_differences, ratio, table, take_turns
from peft_peers import SWAPPED, Plan, choosing, put_adapters, swapping
from random_world import SIZES, lora_settings, random_adapters, random_base, random_prompts, random_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
KINDS = ("generation", "likelihood")
LETTERS = ("A", "B", "C", "D")
# How many times as long as ours the peer should take, and how many times as long as the floor ours may take.
TARGETS = {"generation": {"floor": 1.05}, "likelihood": {"peer": 2.5}}


@dataclass(frozen=True)
class RealSwarm:
    """Particles at a real model's size, and what they are asked.

    Attributes:
        size: Name of the base's size.
        dtype: Of the base.
        rank: Of the adapters.
        adapters: N particles, by the names of an adapter's file.
        tokenizer: The base's.
        prompts: M texts.
        choices: Four texts that may follow each of them.
        new_tokens: The most tokens of a reply.
        seed: Seed of the base.
    """

    size: str
    dtype: torch.dtype
    rank: int
    adapters: "list[dict[str, Tensor]]"
    tokenizer: "PreTrainedTokenizerBase"
    prompts: list[str]
    choices: list[tuple[str, ...]]
    new_tokens: int
    seed: int

    def base(self) -> "PreTrainedModel":
        """Make the base."""
        return random_base(SIZES[self.size], self.dtype, torch.device("cpu"), 512, self.seed)


def real_swarm(chosen: argparse.Namespace) -> RealSwarm:
    """Make everything from seeds."""
    size, count = SIZES[chosen.size], chosen.examples
    shortest, longest = chosen.choice_tokens
    choices = random_prompts(len(LETTERS) * count, shortest, longest, size.vocabulary, chosen.seed + 1)
    shortest, longest = chosen.prompt_tokens
    return RealSwarm(
        chosen.size,
        getattr(torch, chosen.dtype),
        chosen.rank,
        random_adapters(
            random_base(size, torch.float32, torch.device("meta"), 512, chosen.seed),
            chosen.particles,
            chosen.rank,
            chosen.seed,
        ),
        random_tokenizer(size.vocabulary),
        random_prompts(count, shortest, longest, size.vocabulary, chosen.seed),
        [tuple(choices[place::count]) for place in range(count)],
        chosen.new_tokens,
        chosen.seed,
    )


class Ours:
    """This package's evaluation: the only place here that calls it."""

    def __init__(self, swarm: RealSwarm, rows: int | None = None) -> None:
        """Put the adapters into the base; every early stop is off."""
        from swarm_lightning.evaluation.settings import EngineSettings
        from swarm_lightning.experts.layout import Layout
        from swarm_lightning.experts.pool import ExpertPool
        from swarm_lightning.experts.resident.adapted import AdaptedModel

        layout = Layout.of(swarm.adapters[0])
        self.positions = torch.stack([layout.flatten(tensors) for tensors in swarm.adapters])
        names = tuple(f"particle_{place}" for place in range(len(swarm.adapters)))
        config = lora_settings(swarm.rank).to_dict()
        config["target_modules"] = sorted(config["target_modules"])  # as it stands in a file
        self.pool = ExpertPool(names, names, self.positions, layout, config, "random")
        self.swarm, self.adapted = swarm, AdaptedModel(swarm.base(), self.pool)
        self.settings = EngineSettings(rows=rows, exact_stop=False, row_stops=False)

    def evaluate(self, kind: str) -> list[list[str]]:
        """Return what all particles reply or choose [N][M]."""
        evaluation = self._evaluator(kind).evaluate(self.positions, self.examples(), whole_replies=True)
        return [["" if outcome is None else outcome.reply for outcome in row] for row in evaluation.outcomes]

    def floor(self, kind: str) -> list[list[str]]:
        """Ask the base alone N x M rows, in batches of our own layout; every row another, or it would be read once."""
        turned = [
            replace(example, question=" ".join([*words[place:], *words[:place]]))
            for example, words in ((one, one.question.split()) for one in self.examples())
            for place in range(len(self.positions))
        ]
        self._evaluator(kind).evaluate_base(turned)
        return []

    def _evaluator(self, kind: str) -> Any:
        from swarm_lightning.evaluation.evaluator import Evaluator
        from swarm_lightning.evaluation.runners.resident import ResidentRunner
        from swarm_lightning.objectives import ExactMatch, MultipleChoice

        objective: Any = ExactMatch(template="{question}", max_new_tokens=self.swarm.new_tokens)
        if kind == "likelihood":
            objective = MultipleChoice(method="likelihood", scored="text", template="{question}")
        return Evaluator(ResidentRunner(self.adapted, self.swarm.tokenizer, self.settings), objective)

    def examples(self) -> list[Any]:
        """Return the prompts as examples with four choices."""
        from swarm_lightning.data.examples import Example

        return [
            Example(question=prompt, answer="A", choices=dict(zip(LETTERS, texts, strict=True)))
            for prompt, texts in zip(self.swarm.prompts, self.swarm.choices, strict=True)
        ]


def compare(swarm: RealSwarm, rows: int | None, repeats: int, batch: int, clock: str = "wall") -> dict[str, Any]:
    """Measure both kinds of evaluation; return plain values.

    Args:
        swarm: What to evaluate.
        rows: Rows of one of our own forward passes.
        repeats: Turns of the measurement; nothing is thrown away.
        batch: Rows of the peer's batches.
        clock: Name of the clock, of `CLOCKS`.
    """
    peer = put_adapters(swarm.base(), lora_settings(swarm.rank), {SWAPPED: swarm.adapters[0]})
    ours, plan = Ours(swarm, rows), Plan(batch, by_length=True)

    def peer_does(kind: str) -> list[list[str]]:
        if kind == "generation":
            return swapping(peer, swarm.tokenizer, swarm.adapters, swarm.prompts, plan, swarm.new_tokens)
        places = choosing(peer, swarm.tokenizer, swarm.adapters, swarm.prompts, swarm.choices, plan)
        return [[LETTERS[place] for place in row] for row in places]

    numbers: dict[str, Any] = {}
    for kind in KINDS:
        ways = {
            "peer": lambda kind=kind: peer_does(kind),
            "floor": lambda kind=kind: ours.floor(kind),
            "ours": lambda kind=kind: ours.evaluate(kind),
        }
        seconds, replies = take_turns(ways, repeats, warm_up=False, clock=CLOCKS[clock])
        numbers[kind] = {
            "seconds": seconds,
            "median": {name: statistics.median(row) for name, row in seconds.items()},
            "peer_times_ours": ratio(seconds, "peer", "ours"),
            "ours_times_floor": ratio(seconds, "ours", "floor"),
            "different_replies": count_differences(replies["peer"], replies["ours"]),
            "distinct_replies": len({reply for row in replies["ours"] for reply in row}),
        }
    return numbers


def text_of(numbers: dict[str, Any], swarm: RealSwarm, batch: int) -> str:
    """Return the table of what `compare` returned, under a heading."""
    rows = []
    for kind in KINDS:
        found, targets = numbers[kind], TARGETS[kind]
        seconds = {name: f"{value:.1f}" for name, value in found["median"].items()}
        peer_target, floor_target = targets.get("peer"), targets.get("floor")
        rows += [
            [
                f"{kind}: peft, one adapter after the other",
                seconds["peer"],
                f"{found['peer_times_ours']:.2f} x ours",
                f">= {peer_target} x" if peer_target else "",
                str(found["different_replies"]),
            ],
            [f"{kind}: the base alone, the floor", seconds["floor"], "", "", ""],
            [
                f"{kind}: ours",
                seconds["ours"],
                f"{found['ours_times_floor']:.2f} x the floor",
                f"<= {floor_target} x" if floor_target else "",
                "",
            ],
        ]
    size = (
        f"{swarm.size}, {str(swarm.dtype).removeprefix('torch.')}: {len(swarm.adapters)} particles of rank "
        f"{swarm.rank} x {len(swarm.prompts)} prompts, {swarm.new_tokens} new tokens or {len(LETTERS)} choices; "
        f"peft in batches of {batch}"
    )
    return f"{size}\n\n" + table(["", "seconds", "ratio", "target", "different replies"], rows)


def add_arguments(parser: "argparse._ArgumentGroup") -> None:
    """Add what only this regime has."""
    parser.add_argument("--size", default="135m", choices=sorted(SIZES), help="of the random base")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of the random base")
    parser.add_argument(
        "--clock", default="wall", choices=sorted(CLOCKS), help="cpu: for a busy machine and one thread"
    )
    parser.add_argument("--rank", type=int, default=8, help="of the random adapters, on all linear layers")
    parser.add_argument("--prompt-tokens", type=int, nargs=2, default=[50, 120], help="shortest and longest prompt")
    parser.add_argument("--choice-tokens", type=int, nargs=2, default=[2, 5], help="shortest and longest choice")
    parser.add_argument("--peer-batch", type=int, default=32, help="rows of the peer's batches")
