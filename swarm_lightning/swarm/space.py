"""What a position means: the protocol of all spaces that a swarm can move in.

A swarm is a matrix of positions [N, D]. Its rules only copy rows and compare utilities; everything that depends on the
meaning of the numbers belongs to the space: the initial population, the move, whether a position is finite, and the
weights that it represents. Spaces are in `spaces/`, one file each, and are chosen there by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from swarm_lightning.swarm.graphs import Decoding
from swarm_lightning.swarm.population import FirstVelocity, Start
from swarm_lightning.swarm.rules import Coefficients
from swarm_lightning.swarm.settings import Kernel
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.vectors import Vector, Vectors, windows

# Numbers of a sketch: more than there are experts as a rule, so that what is made of them can be read from it. A prime,
# so that the columns of a matrix, of a multiple of 64 as a rule, do not all fall on one number.
SKETCH = 67
SEED_OF_SKETCHES = 20_241_015


@dataclass(frozen=True)
class Material:
    """What a space is made of, as plain values; a space of arbitrary numbers needs none of them.

    Attributes:
        experts: Weights of the n experts [n, D] float32, or n vectors [D].
        sizes: Number of weights of each tensor of an expert, in order; they sum to D.
        base: Weights of the base [D] if it is given and needed; None otherwise, which counts as zeros.
        differences: Whether the experts already are differences from the base, as adapters are.
        folder: Folder of the rows that are kept on disk; None if the swarm is in memory.
        run: The run folder; files inside it are found wherever it is moved.
        groups: Names of the G groups of weights with separate coefficients in every expert; empty: none.
        division: The group of each tensor; empty if the experts are not divided by tensors.
        decoding: How matrices become graphs, for positions that are matrices; None otherwise.
        versions: How many coefficients each expert has in every group: a second one where it may be fitted anew.
    """

    experts: Vectors = ()
    sizes: Sequence[int] = ()
    base: Vector | None = None
    differences: bool = True
    folder: Path | None = None
    run: Path | None = None
    groups: Sequence[str] = ()
    division: Sequence[int] = ()
    decoding: Decoding = Decoding()
    versions: int = 1

    @property
    def size(self) -> int:
        """Number of weights D of one expert."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Circumstances:
    """Conditions of a search that a space may not support.

    Attributes:
        kernel: The kernel requested for the move.
        start: The requested initial population.
        ranks: Number of processes that move the swarm, >= 1.
        keeps_all: Whether every checkpoint must stay usable, not just the last one.
    """

    kernel: Kernel = "auto"
    start: Start = Start()
    ranks: int = 1
    keeps_all: bool = False


class Space(Protocol):
    """What the positions of a swarm mean.

    Attributes:
        groups: Sizes of the groups of numbers that are moved with separate random numbers; None: one group.
        differences_from: Name of the origin of the differences that the numbers multiply; None if they multiply none.
        writes: Whether the first positions have yet to be written to disk. That happens once nothing else can reject
            the search, unless a checkpoint already has them.
        dtype: Data type of the positions.
        uses_base: Whether positions depend on the base, if there is one.
        material: What it was made of.
    """

    groups: Sequence[int] | None
    differences_from: str | None
    writes: bool
    dtype: ClassVar[torch.dtype]
    uses_base: ClassVar[bool]
    material: Material

    def __init__(self, material: Material = ...) -> None:
        """Create the space from its material."""

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Reject conditions that this space does not support.

        Raises:
            ValueError: If there is one; the message says what to do.
        """

    @classmethod
    def form(cls, experts: str) -> str:
        """Return the name of the form of what `vectors` makes: by it, candidates find what runs and what writes them.

        Args:
            experts: The form of the experts, which is that of most candidates; see `vectors.py`.
        """

    def empty(self, particles: int) -> Tensor:
        """Allocate the positions of N particles, uninitialised."""

    def first_positions(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        """Return the first positions of N particles: the experts, further models of the start, and their children.

        Args:
            start: The models that the population begins with.
            particles: Number of particles N.
            span: Upper end of the range of t of a child t a + (1 - t) b.
            generator: Source of the random numbers.

        Raises:
            ValueError: If the weights of an expert or of the base are not finite, or can't be written.
        """

    def first_velocities(
        self, positions: Tensor, utilities: Tensor, mode: FirstVelocity, generator: torch.Generator
    ) -> Tensor:
        """Return the first velocity of every particle, shaped as the positions; see `population.first_velocities`."""

    def settle(self, kernel: Kernel, positions: Tensor) -> Kernel:
        """Settle which kernel moves the positions for the whole search, if that was left open.

        Raises:
            ValueError: If the requested kernel can't.
        """

    def move(
        self, swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float, kernel: Kernel = "plain"
    ) -> None:
        """Apply `rules.move` to positions and velocities, in place.

        Args:
            swarm: The swarm.
            draws: Numbers in [0, 1], [N, 4], or [N, G, 4] for G groups.
            coefficients: Weights of the four terms.
            step_length: Fraction of the new velocity by which a particle moves, > 0.
            kernel: `compiled` or `plain`.

        Raises:
            ValueError: If the four drawn weights of a particle sum to zero.
            KernelError: If the kernel can't be compiled here; nothing has moved then.
        """

    def finite(self, positions: Tensor) -> Tensor:
        """Tell which positions are finite [N] bool, on the CPU."""

    def diversity(self, positions: Tensor) -> float:
        """Measure the spread of the particles; see `rules.diversity`."""

    def sketch(self, positions: Tensor) -> Tensor:
        """Return a few numbers per position [N, SKETCH] float64 that approximately preserve distances."""

    def vectors(self, held: Tensor) -> Vectors:
        """Return what to evaluate for a matrix of the swarm, such as its positions: usually weights."""

    def vector(self, held: Tensor) -> Vector:
        """Return what to evaluate for a vector of the swarm, such as its global best."""

    def expert(self, place: int) -> Vector:
        """Return what to evaluate for an expert."""

    def coefficients(self, held: Tensor) -> Tensor:
        """Return the coefficients [n, G] of each expert in a vector of the swarm, for each of G groups of weights.

        Shape [0, 0] if they are not known.
        """

    def record(self, held: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what a checkpoint must record of the space, and keep everything that the checkpoint refers to.

        Args:
            held: The tensors of the swarm that a checkpoint holds, by name.
        """

    def resume(self, record: Mapping[str, Any], held: Mapping[str, Tensor]) -> None:
        """Restore what `record` returned.

        Args:
            record: The record in the checkpoint.
            held: The tensors of the swarm in it, by name.

        Raises:
            ValueError: If something that the checkpoint refers to is gone.
        """

    def tidy(self, held: Mapping[str, Tensor]) -> None:
        """Remove files that neither the swarm nor its last checkpoint needs.

        Args:
            held: The tensors of the swarm, by name.
        """


def sketch_of(vectors: Vectors) -> Tensor:
    """Fold vectors into a few numbers: each is the sum of every SKETCH-th weight, with fixed random signs.

    It is linear, so combinations of vectors have the same combinations of sketches, and it preserves inner products on
    average, more closely with more numbers. It takes one pass over [N, D].

    Args:
        vectors: N vectors [D].

    Returns:
        [N, SKETCH] float64; vectors of at most SKETCH numbers are kept as they are, padded with zeros.

    Source: Charikar, Chen and Farach-Colton 2002, Finding frequent items in data streams, with places for a hash.

    >>> sketch_of(torch.tensor([[1.0, 2.0]]))[0, :3].tolist()
    [1.0, 2.0, 0.0]
    """
    size = len(vectors[0])
    sketch = torch.zeros(len(vectors), SKETCH, dtype=torch.float64)
    if size <= SKETCH:
        for row, vector in zip(sketch, vectors, strict=True):
            row[:size] = vector[:size]
        return sketch
    generator = torch.Generator().manual_seed(SEED_OF_SKETCHES)
    for start, stop in windows(0, size, SKETCH << 11):
        signs = torch.randint(0, 2, (stop - start,), generator=generator, dtype=torch.int8).float().mul_(2).sub_(1)
        signs, filling = signs.to(vectors[0][start:stop].device), -(stop - start) % SKETCH
        for row, vector in zip(sketch, vectors, strict=True):
            signed = pad(vector[start:stop].float() * signs, (0, filling))
            row += signed.view(-1, SKETCH).sum(dim=0, dtype=torch.float64).cpu()
    return sketch
