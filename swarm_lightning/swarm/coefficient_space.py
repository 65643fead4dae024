"""Particles as coefficients of the experts: a position has n numbers, and its weights are added up when they are asked.

Every move of the published method is a linear combination of whole positions, so no particle ever leaves the space that
the experts span. Written in coefficients of that space, a swarm is [N, n] instead of [N, D], and each coefficient can
be moved with random numbers of its own: a particle may take over one expert and turn away from another in one step.
Experts are read piece by piece, so whole models may stay in their files.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from swarm_lightning.vectors import Vector, Vectors

Origin = Literal["zeros", "mean"]


class Combination:
    """The weights [D] of a linear combination; follows the protocol `Vector`."""

    def __init__(self, parts: Sequence[Vector], shares: Sequence[float]) -> None:
        """Name what is added up.

        Args:
            parts: Vectors [D], at least one.
            shares: By what each is multiplied; a part with share 0 is not read.
        """
        self._parts = parts
        self._shares = shares

    def __len__(self) -> int:
        return len(self._parts[0])

    def __getitem__(self, weights: slice, /) -> Tensor:
        """Return some of the weights, float32 on the CPU.

        They are added up in float64, so that an expert alone is itself, bit for bit.
        """
        start, stop, _ = weights.indices(len(self))
        total = torch.zeros(max(stop - start, 0), dtype=torch.float64)
        for part, share in zip(self._parts, self._shares, strict=True):
            if share:
                total.add_(part[start:stop], alpha=share)
        return total.float()


class CoefficientSpace:
    """All linear combinations of n experts.

    With coefficients c of the experts e and an origin o, the weights are o + c_1 (e_1 - o) + ... + c_n (e_n - o).

    Attributes:
        parts: The vectors that are added up: the experts, and the origin where it is one.

    >>> space = CoefficientSpace(torch.tensor([[3.0], [7.0]]), origin=torch.tensor([1.0]), stacked=True)
    >>> space.vectors(torch.tensor([[1.0, 0.0], [0.5, 0.25]])).tolist()  # 1 + 1 + 1.5
    [[3.0], [3.5]]
    """

    def __init__(self, experts: Vectors, origin: Vector | Origin, stacked: bool = False) -> None:
        """Name the experts.

        Args:
            experts: Weights of the n experts [n, D], or n vectors.
            origin: What their differences are taken from: a vector [D]; `zeros` where they are differences already, as
                adapters are; or their `mean`.
            stacked: Whether the weights of all particles are made at once, as one forward pass of them all needs them,
                or each when it is asked.
        """
        self._count = len(experts)
        self._origin = origin
        self.parts: list[Vector] = [*experts, *([] if isinstance(origin, str) else [origin])]
        self._stacked = stacked

    def vector(self, coefficients: Tensor) -> Combination:
        """Return the weights [D] behind coefficients [n]."""
        shares: list[float] = coefficients.tolist()
        left = 1 - sum(shares)
        if self._origin == "mean":
            shares = [share + left / self._count for share in shares]
        elif not isinstance(self._origin, str):
            shares.append(left)
        return Combination(self.parts, shares)

    def vectors(self, coefficients: Tensor) -> Vectors:
        """Return the weights behind coefficients [N, n]: [N, D], or N vectors."""
        made = [self.vector(row) for row in coefficients]
        return torch.stack([one[:] for one in made]) if self._stacked else made
