"""Positions that are the weights themselves, one vector in memory for every particle: the published method's space."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from swarm_lightning.swarm.broken import finite_rows
from swarm_lightning.swarm.fused_move import move_fused, worth_compiling
from swarm_lightning.swarm.population import FirstVelocity, Start, first_velocities, grow_population
from swarm_lightning.swarm.rules import Coefficients, diversity, move
from swarm_lightning.swarm.settings import Kernel
from swarm_lightning.swarm.space import Circumstances, Material, sketch_of
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.vectors import Vector, Vectors, windows


class DenseSpace:
    """Weights [N, D] float32 in memory. Implements `Space`; other spaces inherit from it."""

    groups: Sequence[int] | None = None
    differences_from: str | None = None
    writes = False
    dtype: ClassVar[torch.dtype] = torch.float32
    uses_base: ClassVar[bool] = False

    def __init__(self, material: Material = Material()) -> None:  # noqa: B008 - frozen
        """Create the space; only first positions need the material.

        Args:
            material: The experts, and the base if the population begins with it.
        """
        self.material = material

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Accept everything: the published method supports all conditions."""

    @classmethod
    def form(cls, experts: str) -> str:
        """Return the experts' form: candidates are weights like theirs."""
        return experts

    def empty(self, particles: int) -> Tensor:
        """Allocate the positions."""
        return torch.empty(particles, self.material.size, dtype=self.dtype)

    def first_positions(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        """Return the experts, further models of the start, and their children; see `Space`."""
        experts, size = self.material.experts, self.material.size
        positions, count = self.empty(particles), len(experts)
        for position, expert in zip(positions, experts, strict=False):
            for first, end in windows(0, size):
                position[first:end].copy_(expert[first:end])
        own, base = positions[:count], self.material.base
        if start.kind != "experts":
            own = own.clone()
        points = start.points(own, generator, None if base is None else base[:])
        return grow_population(points, particles, span, generator, out=positions)

    def first_velocities(
        self, positions: Tensor, utilities: Tensor, mode: FirstVelocity, generator: torch.Generator
    ) -> Tensor:
        """Return the first velocity of every particle."""
        return first_velocities(positions, utilities, mode, generator)

    def settle(self, kernel: Kernel, positions: Tensor) -> Kernel:
        """Choose the compiled kernel if it pays off; groups of numbers need the plain one."""
        if self.groups is not None and kernel == "compiled":
            raise ValueError("Expected kernel to be auto or plain with groups of weights, but got 'compiled'.")
        if kernel != "auto":
            return kernel
        return "compiled" if self.groups is None and worth_compiling(positions) else "plain"

    def move(
        self, swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float, kernel: Kernel = "plain"
    ) -> None:
        """Move in place, block by block or by the compiled kernel."""
        if kernel == "compiled":
            move_fused(swarm, draws, coefficients, step_length)
        else:
            move(swarm, draws, coefficients, step_length, self.groups)

    def finite(self, positions: Tensor) -> Tensor:
        """Tell which positions are finite [N] bool."""
        return finite_rows(positions)

    def diversity(self, positions: Tensor) -> float:
        """Measure how far the particles are spread."""
        return diversity(positions)

    def sketch(self, positions: Tensor) -> Tensor:
        """Fold positions into a few numbers."""
        return sketch_of(positions)

    def vectors(self, held: Tensor) -> Vectors:
        """Return the matrix itself."""
        return held

    def vector(self, held: Tensor) -> Vector:
        """Return the vector itself."""
        return held

    def expert(self, place: int) -> Vector:
        """Return the weights of an expert."""
        return self.material.experts[place]

    def coefficients(self, held: Tensor) -> Tensor:
        """Return nothing: coefficients are not known for weights."""
        return torch.empty(0, 0)

    def record(self, held: Mapping[str, Tensor]) -> dict[str, Any]:
        """Record nothing: the checkpoint contains everything."""
        return {"kind": "memory"}

    def resume(self, record: Mapping[str, Any], held: Mapping[str, Tensor]) -> None:
        """Do nothing: the checkpoint contains everything."""

    def tidy(self, held: Mapping[str, Tensor]) -> None:
        """Do nothing: there are no files beside the checkpoint."""


class TensorSpace(DenseSpace):
    """The same weights, with separate random numbers for each tensor of an expert."""

    def __init__(self, material: Material) -> None:
        """Take what the space is made of.

        Args:
            material: With the sizes of an expert's tensors.
        """
        super().__init__(material)
        self.groups = material.sizes

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Refuse the compiled kernel.

        Raises:
            ValueError: If it is wanted.
        """
        refuse_compiled(circumstances, "tensor")


class DrawnEach(DenseSpace):
    """What spaces have in common whose every number has random numbers of its own: stands before what it changes.

    >>> class DrawnSpace(DrawnEach, DenseSpace): ...
    >>> DrawnSpace(Material(sizes=[2])).groups
    [1, 1]
    """

    def __init__(self, material: Material) -> None:
        """Create the space; see `DenseSpace`."""
        super().__init__(material)
        self.groups = [1] * self.empty(0).shape[1]

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Refuse the compiled kernel too.

        Raises:
            ValueError: If something is wanted that does not go with it.
        """
        super().check(circumstances)
        refuse_compiled(circumstances, "coefficient")


def refuse_compiled(circumstances: Circumstances, draws: str) -> None:
    """Reject the compiled kernel if groups of numbers are moved separately.

    Args:
        circumstances: Conditions of the search, with the requested kernel.
        draws: The setting that defines the groups.

    Raises:
        ValueError: If it is the compiled one.
    """
    if circumstances.kernel == "compiled":
        raise ValueError(
            f"Expected kernel to be auto or plain with draws: {draws}, but got 'compiled'. Leave it out, or set "
            "model.draws to particle."
        )
