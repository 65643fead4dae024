"""Keys and values of running rows in memory of a fixed size: R slots of W columns.

A row is written so that its newest token stands in the same column as everybody else's; when it is finished, another
takes its slot. Nothing is concatenated, and only the columns in use are read. All layers keep full length: where a
model looks back over a window only, its mask sees to that.
"""

import weakref
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_cache import OwnCache, OwnLayer


@dataclass
class Filling:
    """Which rows of a forward pass are new, and where they go.

    Attributes:
        sources: Rows of the forward pass to keep [S]; None for all.
        slots: Where each of them goes, [S] or S slots side by side.
        prefix_of: For every row of the pass, the row of the prefixes that stands before it [K].
    """

    sources: Tensor | None
    slots: Tensor | slice
    prefix_of: Tensor


class RowCache(OwnCache):
    """The cache of all layers; what the next forward pass does is set by `fill` or `step`.

    Attributes:
        slots: Number of slots R.
        columns: Number of columns W.
        start: First column that a running row uses.
        end: The column behind the newest token of every row.
    """

    def __init__(self, slots: int, columns: int, prefixes: "list[tuple[Tensor, Tensor]] | None" = None) -> None:
        """Set the size; memory is taken at the first forward pass.

        Args:
            slots: Number of slots R.
            columns: Number of columns W.
            prefixes: For every layer, keys and values of a prefix [P, heads, tokens, size], which stands before the
                new tokens of a pass.
        """
        super().__init__()
        self.slots = slots
        self.columns = columns
        self.start = 0
        self.end = 0
        self.filling: Filling | None = None
        self.prefixes = prefixes
        self.add_layers(len(prefixes or ()))  # the mask of the first pass must know of a prefix

    def new_layer(self, index: int) -> "_RowLayer":
        """Make a layer."""
        return _RowLayer(self, index)

    @property
    def row_layers(self) -> "list[_RowLayer]":
        """Its layers."""
        return cast("list[_RowLayer]", self.layers)

    def fill(self, filling: Filling) -> None:
        """Announce a pass over new rows, whose last tokens belong into the column before `end`."""
        self.filling = filling

    def step(self, start: int) -> None:
        """Announce a pass over one more token of the row in every slot, which belongs into the column `end`.

        Args:
            start: The first column that any running row uses.
        """
        self.filling = None
        self.start = start

    def keep(self, slots: Tensor) -> None:
        """Keep these slots only, in this order [R']."""
        for layer in self.row_layers:
            assert layer.keys is not None
            assert layer.values is not None
            layer.keys, layer.values = layer.keys[slots], layer.values[slots]
        self.slots = len(slots)

    def move_left(self, by: int) -> None:
        """Move what all slots hold to the left, over columns that no running row uses."""
        for layer in self.row_layers:
            for stored in (layer.keys, layer.values):
                assert stored is not None
                stored[:, :, : self.end - by] = stored[:, :, by : self.end].clone()
        self.end -= by
        self.start = 0


class _RowLayer(OwnLayer):
    """One layer's part of a `RowCache`."""

    def __init__(self, cache: RowCache, index: int) -> None:
        super().__init__()
        # Weakly, so that the memory is free as soon as the cache is let go, not at the next garbage collection.
        self._cache: RowCache = weakref.proxy(cache)
        self._index = index

    def take_memory(self, keys: Tensor, values: Tensor) -> None:
        slots, columns = self._cache.slots, self._cache.columns
        # Zeros, because a masked column counts with weight zero, and zero times an arbitrary number may be no number.
        self.keys = keys.new_zeros(slots, keys.shape[1], columns, keys.shape[3])
        self.values = values.new_zeros(slots, values.shape[1], columns, values.shape[3])

    def columns_before(self) -> int:
        if self._cache.filling is None:
            return self._cache.end - self._cache.start
        return 0 if self._cache.prefixes is None else self._cache.prefixes[self._index][0].shape[2]

    def store(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        assert self.keys is not None
        assert self.values is not None
        cache = self._cache
        if cache.filling is None:
            self.keys[:, :, cache.end] = keys[:, :, 0]
            self.values[:, :, cache.end] = values[:, :, 0]
            columns = slice(cache.start, cache.end + 1)
            return self.keys[:, :, columns], self.values[:, :, columns]
        filling = cache.filling
        if cache.prefixes is not None:
            prefix_keys, prefix_values = cache.prefixes[self._index]
            keys = _joined(prefix_keys[filling.prefix_of], keys)
            values = _joined(prefix_values[filling.prefix_of], values)
        columns = slice(cache.end - keys.shape[2], cache.end)
        sources = slice(None) if filling.sources is None else filling.sources
        # What the row before has left there may be no number: see above.
        self.keys[filling.slots, :, : columns.start] = 0
        self.values[filling.slots, :, : columns.start] = 0
        self.keys[filling.slots, :, columns] = keys[sources]
        self.values[filling.slots, :, columns] = values[sources]
        return keys, values


def _joined(prefix: Tensor, new: Tensor) -> Tensor:
    return torch.cat([prefix, new], dim=2)
