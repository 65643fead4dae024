"""Particles as coefficients of the experts: a position has n numbers, and its weights are summed when evaluated.

Every move of the published method is a linear combination of whole positions, so particles never leave the span of the
experts. In coefficients of that span, a swarm is [N, n] instead of [N, D], and each coefficient can be moved with
separate random numbers: a particle may approach one expert and leave another in one step. Experts are read piece by
piece, so whole models may stay in their files.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from swarm_lightning.swarm.population import Start, grow_population
from swarm_lightning.swarm.space import Circumstances, Material
from swarm_lightning.swarm.spaces.dense import DenseSpace, refuse_compiled
from swarm_lightning.vectors import Vector, Vectors, windows

# What differences are taken from, as checkpoints and model cards say it.
BASE, MEAN = "model.base", "the experts' mean"


class Combination:
    """The weights [D] of a linear combination; follows the protocol `Vector`."""

    def __init__(self, parts: Sequence[Vector], shares: Sequence[float]) -> None:
        """Set the summands.

        Args:
            parts: Vectors [D], at least one.
            shares: The factor of each; a part with share 0 is not read.
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


class CoefficientSpace(DenseSpace):
    """All linear combinations of n experts; positions are coefficients [N, n].

    With coefficients c of the experts e and an origin o, the weights are o + c_1 (e_1 - o) + ... + c_n (e_n - o).
    Experts that already are differences, as adapters are, have the origin 0, and the weights of all particles are
    built at once, as a shared forward pass needs them. The origin of whole models is the base, or the mean of the
    experts if there is none, because coefficients that do not sum to 1 would otherwise scale the whole model. Whole
    models are read when they are evaluated.

    Attributes:
        parts: The vectors that are summed: the experts, and the origin if there is one.

    >>> space = CoefficientSpace(Material(torch.tensor([[3.0], [7.0]])))
    >>> space.vectors(torch.tensor([[1.0, 0.0], [0.5, 0.25]])).tolist()  # 1.5 + 1.75
    [[3.0], [3.25]]
    """

    uses_base: ClassVar[bool] = True

    def __init__(self, material: Material) -> None:
        """Create the space.

        Args:
            material: The experts, and for whole models their base, if given.
        """
        super().__init__(material)
        experts, base = material.experts, material.base
        self.groups = [1] * len(experts)
        if not material.differences:
            self.differences_from = MEAN if base is None else BASE
        self.parts: list[Vector] = [*experts, *([base] if base is not None and not material.differences else [])]

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Reject the compiled kernel, and initial populations that are not combinations of the experts.

        Raises:
            ValueError: If either is requested.
        """
        refuse_compiled(circumstances, "coefficient")
        refuse_sparsified(circumstances, "draws: coefficient", "set model.draws to particle")

    def empty(self, particles: int) -> Tensor:
        """Allocate the positions."""
        return torch.empty(particles, len(self.material.experts), dtype=self.dtype)

    def first_positions(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        """Return the experts as coefficients, further models of the start, and their children; see `Space`.

        Whole models are read once, so that weights that are not finite are rejected before anything is written.
        """
        for part in () if self.material.differences else self.parts:
            for first, end in windows(0, len(part)):
                _ = part[first:end]
        return self.grow(start, particles, span, generator)

    def grow(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        """Return the experts as coefficients [N, n], further models of the start, and their children."""
        points = start.points(torch.eye(len(self.material.experts)), generator)  # the base has no part of any expert
        return grow_population(points, particles, span, generator)

    def vectors(self, held: Tensor) -> Vectors:
        """Return the weights of coefficients [N, n]: [N, D], or N vectors."""
        made = [self.vector(row) for row in held]
        return torch.stack([one[:] for one in made]) if self.material.differences else made

    def vector(self, held: Tensor) -> Vector:
        """Return the weights [D] of coefficients [n]."""
        return self.combination(held.tolist())

    def coefficients(self, held: Tensor) -> Tensor:
        """Return the coefficients [n, 1]: they are the position."""
        return held.unsqueeze(1)

    def combination(self, shares: list[float]) -> Combination:
        """Return the weights [D] of one coefficient per expert.

        Args:
            shares: One for each expert [n].
        """
        left = 1 - sum(shares)
        if self.differences_from == MEAN:
            shares = [share + left / len(shares) for share in shares]
        elif self.differences_from == BASE:
            shares.append(left)
        return Combination(self.parts, shares)


def refuse_sparsified(circumstances: Circumstances, setting: str, instead: str) -> None:
    """Reject sparsified experts, which are no combinations of the experts.

    Args:
        circumstances: Of the run.
        setting: What makes positions coefficients.
        instead: What to do to begin with them.

    Raises:
        ValueError: If the swarm is to begin with them.
    """
    if circumstances.start.kind == "base_and_sparsified":
        raise ValueError(
            f"Expected model.start.kind to be experts, experts_and_base or experts_and_sums with {setting}, but got "
            f"{circumstances.start.kind!r}. Leave it out, or {instead}."
        )
