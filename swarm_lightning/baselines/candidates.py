"""Weights that are made one after the other, as they are asked: many candidates take the memory of one.

For whole models, which take turns in the resident model. Adapters share a forward pass, and are stacked for it.
"""

from collections.abc import Callable, Sequence
from typing import overload

from torch import Tensor


class LazyCandidates(Sequence[Tensor]):
    """P vectors [D] that are made when they are asked for; only the latest is held.

    >>> import torch
    >>> [float(one) for one in LazyCandidates(3, lambda place: torch.tensor([place / 2]))]
    [0.0, 0.5, 1.0]
    """

    def __init__(self, count: int, make: Callable[[int], Tensor]) -> None:
        """Say how they are made.

        Args:
            count: How many there are, P.
            make: Makes the weights [D] of one, the same at every call.
        """
        self._count, self._make = count, make
        self._latest: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int, /) -> Tensor: ...

    @overload
    def __getitem__(self, place: slice, /) -> "LazyCandidates": ...

    def __getitem__(self, place: int | slice, /) -> "Tensor | LazyCandidates":
        """Return the weights [D] of one, or some of them."""
        if isinstance(place, slice):
            places = range(self._count)[place]
            return LazyCandidates(len(places), lambda index: self[places[index]])
        place = range(self._count)[place]
        if self._latest is None or self._latest[0] != place:
            self._latest = None  # lets go of it before the next is made
            self._latest = (place, self._make(place))
        return self._latest[1]
