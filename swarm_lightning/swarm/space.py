"""What a position means: the protocol of all spaces that a swarm can move in.

A swarm is a matrix of positions [N, D]. Its rules only copy rows of it and compare utilities; whatever is computed with
the numbers of a position, or made of them, is its space's: where a population begins, how it moves, whether a position
is finite, and which weights stand behind it. Spaces are in `spaces/`, one file each, and are chosen there by name.
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
    """What a space is made of, as plain values; a space of any numbers needs none of it.

    Attributes:
        experts: Weights of the n experts [n, D], or n vectors.
        sizes: How many of the D weights each of an expert's tensors has, one after the other.
        base: Weights of the base [D], where it is named and needed; None for zeros, or where it is neither.
        differences: Whether the experts are differences from the base already, as adapters are.
        folder: Where rows lie that are kept on the disk.
        run: The folder of the run; what lies inside it is found wherever it is moved to.
        groups: Names of the groups of weights that have a coefficient of their own in every expert; empty for none.
        division: The group of each tensor; empty where it is not by tensors that the experts are divided.
        decoding: How matrices become graphs, where positions are such matrices.
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

    @property
    def size(self) -> int:
        """Number of weights D of one expert."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Circumstances:
    """What a space may be unable to go together with.

    Attributes:
        kernel: What is to move the particles.
        start: What the population is to begin with.
        ranks: How many processes move the swarm.
        keeps_all: Whether every checkpoint is to stay usable, and not the last one only.
    """

    kernel: Kernel = "auto"
    start: Start = Start()
    ranks: int = 1
    keeps_all: bool = False


class Space(Protocol):
    """What the positions of a swarm mean.

    Attributes:
        groups: Sizes of the groups of numbers that are moved with random numbers of their own; None for one of all.
        differences_from: What a position's numbers multiply differences from; None where they do not.
        writes: Whether first positions are still to be written to the disk: they are when nothing else can refuse the
            search any more, unless a checkpoint names them.
        dtype: Of the positions.
        uses_base: Whether it is made of the base too, where one is named.
        returns_memory: Whether vectors are made one after the other, so that freed memory should go back to the system.
    """

    groups: Sequence[int] | None
    differences_from: str | None
    writes: bool
    dtype: ClassVar[torch.dtype]
    uses_base: ClassVar[bool]
    returns_memory: ClassVar[bool]

    def __init__(self, material: Material = ...) -> None:
        """Take what the space is made of."""

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Refuse what this space does not go together with.

        Raises:
            ValueError: If there is any such thing; it says what to do.
        """

    def empty(self, particles: int) -> Tensor:
        """Return a place for the positions of N particles; what it holds is undefined."""

    def first_positions(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        """Return where N particles begin: the experts, what else the start names, and children of these.

        Args:
            start: What the population begins with.
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
        """Say what moves these positions for the whole search, where that was left open.

        Raises:
            ValueError: If the wanted kernel can't.
        """

    def move(
        self, swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float, kernel: Kernel = "plain"
    ) -> None:
        """Do the move of `rules.move` on positions and velocities, in place.

        Args:
            swarm: The swarm.
            draws: Numbers in [0, 1], [N, 4], or [N, G, 4] for G groups.
            coefficients: Weights of the four terms.
            step_length: Fraction of the new velocity that is travelled, > 0.
            kernel: `compiled` or `plain`.

        Raises:
            ValueError: If the four drawn weights of a particle sum to zero.
            KernelError: If the kernel can't be compiled here; nothing has moved then.
        """

    def finite(self, positions: Tensor) -> Tensor:
        """Tell which positions are finite [N] bool, on the CPU."""

    def diversity(self, positions: Tensor) -> float:
        """Measure how far the particles are spread; see `rules.diversity`."""

    def sketch(self, positions: Tensor) -> Tensor:
        """Return a few numbers of every position [N, SKETCH] float64, in which distances are about as they are."""

    def vectors(self, held: Tensor) -> Vectors:
        """Return what is asked of a matrix of the swarm, such as its positions: as a rule the weights behind it."""

    def vector(self, held: Tensor) -> Vector:
        """Return what is asked of a vector of the swarm, such as its global best."""

    def expert(self, place: int) -> Vector:
        """Return what is asked of an expert."""

    def coefficients(self, held: Tensor) -> Tensor:
        """Return how much of each expert stands in a vector of the swarm [n, G], in each of G groups of weights.

        [0, 0] where that is not known.
        """

    def record(self, held: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what a checkpoint says of the space, and see to it that what the checkpoint names is kept.

        Args:
            held: The tensors of the swarm that a checkpoint holds, by name.
        """

    def resume(self, record: Mapping[str, Any], held: Mapping[str, Tensor]) -> None:
        """Take up what `record` returned.

        Args:
            record: What a checkpoint says.
            held: The tensors of the swarm in it, by name.

        Raises:
            ValueError: If what the checkpoint names is gone.
        """

    def tidy(self, held: Mapping[str, Tensor]) -> None:
        """Remove what neither the swarm nor its last checkpoint needs.

        Args:
            held: The tensors of the swarm, by name.
        """


def sketch_of(vectors: Vectors) -> Tensor:
    """Fold vectors into a few numbers, always in the same way: each sums every SKETCH-th weight up, by random signs.

    It is linear, so that a combination of vectors has the same combination of their sketches, and products of two
    vectors are kept on average, the closer the more numbers there are. One pass over [N, D].

    Args:
        vectors: N vectors [D].

    Returns:
        [N, SKETCH] float64; up to SKETCH numbers are themselves, with zeros behind them.

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
