"""How models answer along graphs: how matrices are decoded to graphs, and what nodes are told."""

from dataclasses import dataclass, field

from swarm_lightning.evaluation.systems.messages import Instructions
from swarm_lightning.swarm.graphs import Decoding


@dataclass(frozen=True)
class GraphSettings:
    """How models answer together along a graph.

    Attributes:
        decoding: How a matrix becomes a graph.
        instructions: What nodes are told beside the question.
        any_models: Whether experts may be any causal language models: adapters and whole models alike, of any
            architecture and vocabulary. Their weights stay as they are, so the optimizer needs `moves: roles`.
    """

    decoding: Decoding = field(default_factory=Decoding)
    instructions: Instructions = field(default_factory=Instructions)
    any_models: bool = False
