"""Positions that are graphs of the experts: a matrix that is decoded into which model reads which.

A position has n n numbers, the matrix of n models, row by row, with a diagonal of zeros. The weights of the models are
not part of it: they are positions in a separate space, `models`. Source: arXiv:2502.04510, section 2.
"""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.swarm.graphs import Graph, System, alone
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.space import Circumstances, Material
from swarm_lightning.swarm.spaces.dense import DenseSpace
from swarm_lightning.vectors import SYSTEM, Vectors


class GraphSpace(DenseSpace):
    """Matrices [N, n n] float32 in memory, with entries from U(0, 1) at first.

    Attributes:
        models: The space of the models' weights.

    >>> from swarm_lightning.swarm.graphs import Decoding
    >>> space = GraphSpace(Material(torch.zeros(2, 3), sizes=[3], decoding=Decoding()))
    >>> space.system(torch.tensor([0.0, 0.6, 0.4, 0.0]), 0).graph
    Graph(readers=((1,), ()))
    """

    def __init__(self, material: Material = Material()) -> None:  # noqa: B008 - frozen
        """Create the space.

        Args:
            material: The experts, and how matrices are decoded.
        """
        super().__init__(material)
        self.models = DenseSpace(material)
        self._experts: Tensor | None = None
        # What graphs are drawn with, a row for each particle: a position of it is always the same graph.
        self._numbers = torch.zeros(0, 0, dtype=torch.float64)

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Reject initial populations with more than the experts.

        Raises:
            ValueError: If one is requested.
        """
        if circumstances.start.kind != "experts":
            raise ValueError(
                "Expected model.start.kind to be experts with model.graphs, whose models are the experts, but got "
                f"{circumstances.start.kind!r}. Leave it out."
            )

    @classmethod
    def form(cls, experts: str) -> str:
        """Return the form of systems, whatever the experts are."""
        return SYSTEM

    @property
    def nodes(self) -> int:
        """Number of nodes n of a graph, one for each expert."""
        return len(self.material.experts)

    @property
    def experts(self) -> Tensor:
        """The experts' weights [n, D]."""
        if self._experts is None:
            generator = torch.Generator()  # children would be drawn; there are none
            self._experts = self.models.first_positions(Start(), self.nodes, 1.0, generator)
        return self._experts

    def empty(self, particles: int) -> Tensor:
        """Allocate the matrices."""
        return torch.empty(particles, self.nodes**2, dtype=self.dtype)

    def first_positions(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        """Return matrices with entries from U(0, 1) and a diagonal of 0; see `Space`."""
        matrices = torch.rand(particles, self.nodes, self.nodes, generator=generator)
        matrices.diagonal(dim1=1, dim2=2).zero_()
        count = self.material.decoding.numbers(self.nodes)
        self._numbers = (
            torch.rand(particles, count, generator=generator, dtype=torch.float64) if count else self._numbers
        )
        return matrices.flatten(1)

    def graph(self, matrix: Tensor, particle: int) -> Graph:
        """Return the graph of a matrix [n n].

        Args:
            matrix: The position.
            particle: Index of its particle, which seeds the draws of a sampled graph.
        """
        nodes = isqrt(len(matrix))
        numbers: Sequence[float] = self._numbers[particle].tolist() if len(self._numbers) else ()
        return self.material.decoding.graph(matrix.view(nodes, nodes), numbers)

    def system(
        self, matrix: Tensor, particle: int, models: Vectors | None = None, assignment: Sequence[int] | None = None
    ) -> System:
        """Return the system of models of a matrix [n n].

        Args:
            matrix: The position.
            particle: Index of its particle.
            models: Weights of the models [n, D]; None: those of the experts.
            assignment: The model of every node; None: node i has model i.
        """
        assigned = range(self.nodes) if assignment is None else assignment
        return System(self.graph(matrix, particle), tuple(assigned), self.experts if models is None else models)

    def vectors(self, held: Tensor) -> Vectors:
        """Return the systems of all particles' matrices [N, n n], with the experts as models."""
        return [self.system(matrix, particle) for particle, matrix in enumerate(held)]

    def vector(self, held: Tensor) -> System:
        """Return the system of the first particle's matrix [n n], with the experts as models."""
        return self.system(held, 0)

    def expert(self, place: int) -> System:
        """Return an expert answering alone."""
        return alone(self.experts, place)

    def record(self, held: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the state of the draws of graphs, beside that of any space in memory."""
        return {**super().record(held), **({"numbers": self._numbers} if len(self._numbers) else {})}

    def resume(self, record: Mapping[str, Any], held: Mapping[str, Tensor]) -> None:
        """Restore the state of the draws of graphs."""
        self._numbers = record.get("numbers", self._numbers).cpu()
