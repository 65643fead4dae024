"""What the nodes of a system of models reply on the way to its answer, and how each of these replies would score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.runners.graphs import GraphRows, GraphRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.objectives.protocol import LanguageModel, Objective, RepliesOnly
from swarm_lightning.objectives.utility import pays
from swarm_lightning.swarm.graphs import System

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class NodeReply:
    """What one node replied to one example.

    Attributes:
        example: The example.
        node: The node.
        model: The expert that its model began as, by its place.
        level: How many nodes reply before it on the longest way to it.
        reply: Its text.
        score: What it would score; None where that is paid for, or takes more than one turn.
    """

    example: Example
    node: int
    model: int
    level: int
    reply: str
    score: float | None


class Quoted:
    """A language model that gives replies which are known; follows the protocol `LanguageModel`.

    Attributes:
        tokenizer: The base model's.
        device: Where the base model computes.
    """

    def __init__(self, replies: Sequence[str], tokenizer: "PreTrainedTokenizerBase", device: torch.device) -> None:
        """Take the replies, one per row."""
        self.tokenizer, self.device = tokenizer, device
        self._replies = list(replies)

    def generate(self, prompts: Sequence[str], *_: Any, **__: Any) -> list[str]:
        """Give the reply of every row."""
        return list(self._replies)

    def loglikelihood(self, *_: Any, **__: Any) -> Any:
        """Refuse: only replies are known.

        Raises:
            ValueError: Always.
        """
        raise ValueError("Expected an objective of systems, whose models reply with text.")

    def select(self, places: Sequence[int]) -> LanguageModel:
        """Return the same for some of the rows."""
        return Quoted([self._replies[place] for place in places], self.tokenizer, self.device)


def replies_on_the_way(
    evaluator: Evaluator[Any], objective: Objective, system: System, particle: int, examples: Sequence[Example]
) -> list[NodeReply]:
    """Ask a system, and note what every node replies.

    Args:
        evaluator: Its runner takes systems.
        objective: What is asked; a judge is not asked anything.
        system: What answers.
        particle: Whose noise sampled replies are drawn with.
        examples: What to ask.

    Returns:
        One for each example and node, example by example, the nodes in the order in which they reply.
    """
    runner: GraphRunner = evaluator.runner
    asked, count = tuple(examples), len(examples)
    paid = pays(objective)
    unscored = objective.replies_only() if isinstance(objective, RepliesOnly) else objective
    with torch.inference_mode(), runner.session([system], {}) as session:
        rows = session.rows([0] * count, asked, RowNoise(evaluator.seed, (particle,) * count, asked), True)
        assert isinstance(rows, GraphRows)
        unscored.evaluate(asked, rows)
    heard, device = rows.heard, rows.device
    scored = not paid and all(len(turns) == 1 for turns in heard.values())
    scores: dict[int, list[float]] = {}
    order = [(level, node) for level, nodes in enumerate(system.graph.levels) for node in nodes]
    for _, node in order if scored else ():
        quoted = Quoted([heard[row][0][node] for row in range(count)], runner.tokenizer, device)
        scores[node] = [outcome.score for outcome in objective.evaluate(asked, quoted)]
    return [
        NodeReply(
            example, node, system.assignment[node], level, heard[row][0][node], scores[node][row] if scored else None
        )
        for row, example in enumerate(asked)
        for level, node in order
    ]
