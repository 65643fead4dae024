"""Models that answer together: a graph of nodes, the model that stands in each, and the models' weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from swarm_lightning.swarm.graphs import Graph
from swarm_lightning.vectors import Vectors


@dataclass(frozen=True)
class System:
    """Models that answer together; as one vector, it follows the protocol `Vector`.

    Attributes:
        graph: Who answers whom.
        assignment: The model that stands in every node; one may stand in several.
        weights: Of all models that may be named [n, D], or n vectors; systems may share them.

    >>> pair = System(Graph(((1,), ())), (0, 0), torch.tensor([[0.5, 2.0]]))
    >>> pair[:].tolist()  # the models of both nodes, four places of the matrix of edges, the model's weights
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5, 2.0]
    """

    graph: Graph
    assignment: tuple[int, ...]
    weights: Vectors

    def __len__(self) -> int:
        return len(self._head()) + len(self.weights) * len(self.weights[0])

    def __getitem__(self, numbers: slice, /) -> Tensor:
        """Return some of the numbers that tell the system from others, float32."""
        start, stop, _ = numbers.indices(len(self))
        head = self._head()
        parts, begin = [head[start:stop]], len(head)
        for vector in self.weights:
            size = len(vector)
            parts.append(vector[max(start - begin, 0) : min(max(stop - begin, 0), size)].float().cpu())
            begin += size
        return torch.cat(parts)

    def _head(self) -> Tensor:
        """Return the assignment and the edges [n + n n]."""
        readers = self.graph.readers
        edges = torch.zeros(len(readers), len(readers))
        for node, others in enumerate(readers):
            edges[node, list(others)] = 1
        return torch.cat([torch.tensor(self.assignment, dtype=torch.float32), edges.flatten()])


def alone(weights: Vectors, model: int) -> System:
    """Return the system of one node, in which a model answers by itself.

    Args:
        weights: Of the models [n, D].
        model: Which of them.
    """
    return System(Graph(((),)), (model,), weights)
