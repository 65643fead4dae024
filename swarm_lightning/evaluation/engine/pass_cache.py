"""The cache of a single forward pass: what stands before its rows, and what is kept of their own tokens.

What stands before the new tokens was computed once, for a particle (a prefix of all prompts) or for one of its prompts
(whose continuations are read one beside the other), and is put together layer by layer: no more than one layer's keys
and values exist once for every row.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_cache import OwnCache, OwnLayer, kept


@dataclass(frozen=True)
class Before:
    """Keys and values that stand before the new tokens of rows.

    Attributes:
        layers: Keys and values of every layer [K, heads, T, size].
        row_of: For every row of the pass, which of the K it continues [B].
    """

    layers: Sequence[tuple[Tensor, Tensor]]
    row_of: Tensor


class PassCache(OwnCache):
    """The cache of all layers in one pass."""

    def __init__(self, before: Sequence[Before], keep: Tensor | None = None) -> None:
        """Say what is there and what is to be kept.

        Args:
            before: What stands before the new tokens, the first in front.
            keep: Rows of the pass whose new keys and values are kept [S]; none where not given.
        """
        super().__init__()
        self.before = tuple(before)
        self.keep = keep
        self.add_layers(max((len(one.layers) for one in self.before), default=0))  # the mask must know of what is there

    def new_layer(self, index: int) -> "_PassLayer":
        """Make a layer."""
        return _PassLayer(self, index)

    def kept(self) -> list[tuple[Tensor, Tensor]]:
        """Return what was kept, keys and values [S, heads, T, size] of every layer."""
        return kept(self)


class _PassLayer(OwnLayer):
    """One layer's part of a `PassCache`."""

    def __init__(self, cache: PassCache, index: int) -> None:
        super().__init__()
        # Weakly, so that the memory is free as soon as the cache is let go, not at the next garbage collection.
        self._cache: PassCache = weakref.proxy(cache)
        self._index = index

    def take_memory(self, keys: Tensor, values: Tensor) -> None:
        self.keys = self.values = None

    def columns_before(self) -> int:
        return sum(one.layers[self._index][0].shape[2] for one in self._cache.before)

    def store(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        keep, before = self._cache.keep, self._cache.before
        if keep is not None:
            self.keys, self.values = keys[keep], values[keep]  # copies: the model's may be parts of something larger
        if not before:
            return keys, values
        parts = [[part[one.row_of] for part in one.layers[self._index]] for one in before]
        return torch.cat([*(part[0] for part in parts), keys], 2), torch.cat([*(part[1] for part in parts), values], 2)
