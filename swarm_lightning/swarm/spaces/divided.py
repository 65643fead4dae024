"""Particles as coefficients of what the experts add to their base, one for every expert and group of weights.

Experts are divided into groups: the whole expert, its layers, its modules and so on. A position has n G numbers, expert
by expert. Its meaning depends on the experts. LoRA adapters add products B A, and no sum of these has the form of the
experts, so the coefficients themselves are evaluated: the runner weighs the products. Whole models add the differences
of their weights, which are built when they are evaluated. Experts that may be fitted anew have a second version each,
whose n G numbers stand behind all others; every expert begins with its first.
"""

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor

from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.space import Circumstances, Material
from swarm_lightning.swarm.spaces.coefficients import CoefficientSpace, refuse_sparsified
from swarm_lightning.swarm.spaces.dense import DrawnEach
from swarm_lightning.vectors import ADAPTER, PRODUCTS, Vector, Vectors


class Stretches:
    """The weights [D] of several vectors in turns, each in its stretches; implements the protocol `Vector`.

    >>> Stretches([torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 2.0, 2.0])], [0, 2], [1, 0])[:].tolist()
    [2.0, 2.0, 1.0]
    """

    def __init__(self, vectors: Sequence[Vector], starts: Sequence[int], chosen: Sequence[int]) -> None:
        """Set which vector is read where.

        Args:
            vectors: Vectors [D].
            starts: Where every stretch begins; the first at 0.
            chosen: For every stretch, the place of its vector.
        """
        self._vectors, self._starts, self._chosen = vectors, starts, chosen

    def __len__(self) -> int:
        return len(self._vectors[0])

    def __getitem__(self, weights: slice, /) -> Tensor:
        """Return some of the weights."""
        start, stop, _ = weights.indices(len(self))
        if stop <= start:
            return torch.empty(0)
        ends = [*self._starts[1:], len(self)]
        pieces, place = [], bisect_right(self._starts, start) - 1
        while start < stop:
            end = min(ends[place], stop)
            pieces.append(self._vectors[self._chosen[place]][start:end])
            start, place = end, place + 1
        return torch.cat(pieces)


class DividedSpace(CoefficientSpace):
    """All sums of the experts' differences, group by group; positions are coefficients [N, n G].

    >>> space = DividedSpace(Material(torch.tensor([[3.0], [7.0]]), groups=("attention", "mlp")))
    >>> generator = torch.Generator().manual_seed(0)
    >>> space.first_positions(Start(), 2, 2.0, generator).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """

    def __init__(self, material: Material) -> None:
        """Create the space.

        Args:
            material: The experts and their groups, and for whole models the group of every tensor.
        """
        super().__init__(material)
        self.groups = None
        self._starts, self._chosen = _stretches(material.sizes, material.division)

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Reject initial populations that are not sums of the experts.

        Raises:
            ValueError: If one is requested.
        """
        refuse_sparsified(circumstances, "model.coefficients", "set model.coefficients to null")

    @classmethod
    def form(cls, experts: str) -> str:
        """Return the form of coefficients of products, or that of whole models."""
        return PRODUCTS if experts == ADAPTER else experts

    def empty(self, particles: int) -> Tensor:
        """Allocate the positions."""
        numbers = len(self.material.experts) * len(self.material.groups) * self.material.versions
        return torch.empty(particles, numbers, dtype=self.dtype)

    def grow(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        """Return the experts, each 1 in all of its groups, further models of the start, and their children [N, n G].

        Every group of a child has different parents. With the same parents all positions, and everything reachable by a
        swarm whose groups share random numbers, would be equal in all groups.
        """
        grown = [super(DividedSpace, self).grow(start, particles, span, generator) for _ in self.material.groups]
        return self._without_second(torch.stack(grown, dim=-1).flatten(1))

    def spread(self, weights: Tensor) -> Tensor:
        """Return coefficients [..., n G] that are the same in all groups of an expert.

        Args:
            weights: One for each expert [..., n].
        """
        return self._without_second(weights.repeat_interleave(len(self.material.groups), dim=-1))

    def _without_second(self, own: Tensor) -> Tensor:
        """Put zeros for second versions behind coefficients [..., n G]."""
        others = (torch.zeros_like(own) for _ in range(self.material.versions - 1))
        return torch.cat([own, *others], dim=-1)

    def vectors(self, held: Tensor) -> Vectors:
        """Return the coefficients [N, n G] themselves, or the weights of N whole models."""
        return held if self.material.differences else [self.vector(row) for row in held]

    def vector(self, held: Tensor) -> Vector:
        """Return the coefficients [n G] themselves, or the weights of a whole model."""
        if self.material.differences:
            return held
        groups = [self.combination(shares) for shares in self.coefficients(held).T.tolist()]
        return groups[0] if len(groups) == 1 else Stretches(groups, self._starts, self._chosen)

    def expert(self, place: int) -> Vector:
        """Return an expert as its coefficients, or as a whole model."""
        if not self.material.differences:
            return self.material.experts[place]
        return self.spread(torch.eye(len(self.material.experts))[place])

    def coefficients(self, held: Tensor) -> Tensor:
        """Return the coefficients [n, G]: they are the position; those of both versions of an expert are added."""
        return held.reshape(self.material.versions, len(self.material.experts), -1).sum(dim=0)


class DrawnDividedSpace(DrawnEach, DividedSpace):
    """The same sums, with separate random numbers for each coefficient."""


def _stretches(sizes: Sequence[int], division: Sequence[int]) -> tuple[list[int], list[int]]:
    """Join tensors of one group that lie side by side: where every stretch begins, and its group."""
    starts: list[int] = []
    chosen: list[int] = []
    start = 0
    for size, group in zip(sizes, division, strict=False):  # no division where it is not by tensors
        if not chosen or group != chosen[-1]:
            starts.append(start)
            chosen.append(group)
        start += size
    return starts, chosen
