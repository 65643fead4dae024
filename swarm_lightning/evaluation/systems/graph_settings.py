"""How models answer along graphs: how matrices are decoded to graphs, and what nodes are told."""

from dataclasses import dataclass, field

from swarm_lightning.evaluation.systems.messages import Instructions
from swarm_lightning.swarm.graphs import Decoding


@dataclass(frozen=True)
class GraphSettings:
    """What a search of graphs of models is set.

    Attributes:
        decoding: How a matrix becomes a graph.
        instructions: What nodes are told beside the question.
        any_models: Whether experts are models of any architecture and vocabulary, adapters and whole models alike, that
            stay as they are: with `moves: roles` of the optimizer.
    """

    decoding: Decoding = field(default_factory=Decoding)
    instructions: Instructions = field(default_factory=Instructions)
    any_models: bool = False
