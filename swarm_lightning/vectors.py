"""What a particle's weights can be, wherever they lie: a tensor in memory, or numbers that are read as they are needed.

A whole model may be too large to be held in memory beside the resident one. So whoever takes up, writes or checks the
weights of a particle asks for one piece after the other. What the numbers mean is their form, which has a name.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

WINDOW = 1 << 22  # weights that are looked at together, 16 MiB

# Forms of what is run and written. The experts': weights of an adapter or of a whole model, mixing numbers, and places
# of models that each answer alone. And what else spaces make of positions: coefficients of products, and systems.
ADAPTER, CHECKPOINT, MIXTURE, MODEL = "adapter", "checkpoint", "mixture", "model"
PRODUCTS, SYSTEM = "products", "system"


class Vector(Protocol):
    """Weights [D] of one particle, float32; a tensor [D] is one."""

    def __len__(self) -> int:
        """Return the number of weights D."""

    def __getitem__(self, weights: slice, /) -> Tensor:
        """Return some of the weights: a view where they lie in memory, else a copy."""


# Weights of P particles: a tensor [P, D], or P vectors.
Vectors = Tensor | Sequence[Vector]


def windows(start: int, stop: int, size: int = WINDOW) -> Iterator[tuple[int, int]]:
    """Cut a range into pieces of at most `size`.

    >>> list(windows(3, 8, 2))
    [(3, 5), (5, 7), (7, 8)]
    """
    for begin in range(start, stop, size):
        yield begin, min(begin + size, stop)
