"""Who answers whom: graphs of nodes, how a matrix of likelihoods is decoded to one, and systems: graphs of models.

Source: arXiv:2502.04510, section 2 and Algorithm 4 (G-decode); BunsenFeng/heterogeneous_swarm, graph_decode.py, for
what the text leaves open: softmax makes the weights of every draw, and a draw with top-p 0 takes the likeliest.

Departures from the release. It leaves entries that are exactly 0 out of a draw, because 0 stands for nodes that can't
be drawn; here these are named, and an entry of 0 is as good as any other. Among equals the first node is taken, there
the last. Above top-p 0 what is left is drawn by its probabilities; the release puts these through softmax once more,
which makes them nearly even. An out-degree of 0, whose inverse it can't compute, makes a node the end for certain.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from swarm_lightning.vectors import Vectors

Fixed = Literal["chain", "star"]


@dataclass(frozen=True)
class Graph:
    """Nodes without circles, all of which flow into one end.

    Attributes:
        readers: For every node the nodes that read its reply, the likeliest first; empty for the end.

    >>> Graph(((2,), (2,), ())).levels
    ((0, 1), (2,))
    """

    readers: tuple[tuple[int, ...], ...]

    @property
    def end(self) -> int:
        """The node whose reply is the graph's."""
        return next(node for node, readers in enumerate(self.readers) if not readers)

    def sources(self, node: int) -> tuple[int, ...]:
        """Return the nodes whose replies a node reads, in order."""
        return tuple(other for other, readers in enumerate(self.readers) if node in readers)

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """All nodes in topological order, in levels: a node reads from lower levels only, and at least one just below.

        The first level holds the nodes that read nothing.
        """
        heights: dict[int, int] = {}

        def height(node: int) -> int:
            if node not in heights:
                heights[node] = 1 + max((height(source) for source in self.sources(node)), default=-1)
            return heights[node]

        nodes = range(len(self.readers))
        return tuple(
            tuple(node for node in nodes if height(node) == level) for level in range(max(map(height, nodes)) + 1)
        )

    @property
    def order(self) -> tuple[int, ...]:
        """All nodes in the order in which they answer.

        >>> Graph(((1,), (), (1,))).order
        (0, 2, 1)
        """
        return tuple(node for level in self.levels for node in level)


@dataclass(frozen=True)
class Decoding:
    """How matrices become graphs.

    Attributes:
        top_p: 0 (published): each draw takes the likeliest node. Above 0, in (0, 1]: it samples among the fewest
            likeliest nodes whose probabilities sum to more than this; a graph keeps its random numbers as it moves.
        edges: To how many nodes each node passes its reply, >= 1: the likeliest ones, or all where there are fewer.
            With 1 (published) the graph is a tree.
        fixed: null: graphs are searched. `chain`: each expert replies to the next; `star`: all reply to the last; needs
            `moves: weights` of the optimizer.
    """

    top_p: float = 0.0
    edges: int = 1
    fixed: Fixed | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"Expected graphs.decoding.top_p to lie in [0, 1], but got {self.top_p}.")
        if isinstance(self.edges, bool) or not isinstance(self.edges, int) or self.edges < 1:
            raise ValueError(f"Expected graphs.decoding.edges to be a whole number of 1 or more, but got {self.edges}.")
        if self.fixed is not None and self.fixed not in get_args(Fixed):
            raise ValueError(
                f"Expected graphs.decoding.fixed to be null, {' or '.join(get_args(Fixed))}, but got {self.fixed!r}."
            )

    def numbers(self, nodes: int) -> int:
        """Return how many random numbers a graph of so many nodes is drawn with; 0 where nothing is drawn."""
        return 0 if self.top_p == 0 or self.fixed is not None else 1 + (nodes - 1) * (1 + self.edges)

    def graph(self, matrix: Tensor, numbers: Iterable[float] = ()) -> Graph:
        """Return the graph of a matrix [n, n]; see `decode`."""
        if self.fixed is not None:
            return FIXED[self.fixed](len(matrix))
        return decode(matrix, self.top_p, self.edges, numbers)


def chain(nodes: int) -> Graph:
    """Return a graph in which each node answers to the next.

    >>> chain(3).levels
    ((0,), (1,), (2,))
    """
    return Graph(tuple((node + 1,) if node + 1 < nodes else () for node in range(nodes)))


def star(nodes: int) -> Graph:
    """Return a graph in which all nodes answer to the last.

    >>> star(3).levels
    ((0, 1), (2,))
    """
    return Graph(tuple((nodes - 1,) if node + 1 < nodes else () for node in range(nodes)))


FIXED: dict[str, Callable[[int], Graph]] = {"chain": chain, "star": star}


def decode(matrix: Tensor, top_p: float = 0.0, edges: int = 1, numbers: Iterable[float] = ()) -> Graph:
    """Decode a matrix to a graph.

    A node's out-degree is the sum of its row. The end is drawn by softmax(1 / out-degree). Then one of the remaining
    nodes is drawn by the softmax of the out-degrees, and connected to one that is placed already, drawn by the softmax
    of its row's entries for those, until none remains.

    Args:
        matrix: How likely each node answers to each other one [n, n]; the diagonal counts as 0.
        top_p: What draws are made among, in [0, 1]: the likeliest nodes, until together they are likelier than this; 0
            takes the likeliest alone. Of equally likely nodes the first comes first.
        edges: How many placed nodes each node is connected to, >= 1, as far as there are so many; drawn one after the
            other, none twice.
        numbers: Uniform in [0, 1), `Decoding.numbers` of them; not read with top-p 0.

    Returns:
        The graph of n nodes.

    Raises:
        ValueError: If the matrix is not square, has fewer than two nodes, or is not finite.

    >>> decode(torch.tensor([[0.0, 0.9, 0.2], [0.1, 0.0, 0.3], [0.3, 0.4, 0.0]]))
    Graph(readers=((1,), (), (1,)))
    """
    nodes = len(matrix)
    if matrix.dim() != 2 or matrix.shape[1] != nodes or nodes < 2:
        raise ValueError(f"Expected a square matrix of two nodes or more, but got {list(matrix.shape)}.")
    entries = matrix.detach().to("cpu", torch.float64, copy=True).fill_diagonal_(0)
    if not entries.isfinite().all():
        raise ValueError("Expected a matrix of finite numbers, but some are NaN or infinite.")
    rows: list[list[float]] = entries.tolist()
    degrees = [sum(row) for row in rows]
    given = iter(numbers)
    inverses = [1 / degree if degree else math.inf for degree in degrees]
    end = _draw(range(nodes), inverses, top_p, given)
    readers: list[tuple[int, ...]] = [()] * nodes
    placed, remaining = [end], [node for node in range(nodes) if node != end]
    while remaining:
        node = _draw(remaining, degrees, top_p, given)
        left, chosen = sorted(placed), list[int]()
        while left and len(chosen) < edges:
            chosen.append(_draw(left, rows[node], top_p, given))
            left.remove(chosen[-1])
        readers[node] = tuple(chosen)
        placed.append(node)
        remaining.remove(node)
    return Graph(tuple(readers))


def _draw(nodes: Sequence[int], weights: Sequence[float], top_p: float, numbers: Iterable[float]) -> int:
    """Draw one of some nodes by the softmax of their weights, among the likeliest."""
    if top_p == 0:
        return max(nodes, key=lambda node: weights[node])
    shares = dict(zip(nodes, _softmax([weights[node] for node in nodes]), strict=True))
    kept: list[int] = []
    for node in sorted(nodes, key=lambda node: -shares[node]):
        kept.append(node)
        if sum(shares[node] for node in kept) > top_p:
            break
    left = next(iter(numbers)) * sum(shares[node] for node in kept)
    for node in kept:
        left -= shares[node]
        if left < 0:
            return node
    return kept[-1]


def _softmax(values: Sequence[float]) -> list[float]:
    """Return the softmax; where values are infinite, these share everything."""
    highest = max(values)
    powers = [float(value == highest) if math.isinf(highest) else math.exp(value - highest) for value in values]
    return [power / sum(powers) for power in powers]


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
