"""Caches of keys and values as the models of transformers write and read them.

Tested with transformers 5.0 to 5.24. Relied on:
- `Cache(layers=[...])` keeps the layers in its attribute `layers`, and a model asks it by `update` (in 5.0 with a
  further argument, later with others), `get_seq_length` and `get_mask_sizes`, which ask the layers;
- `Cache(layer_class_to_replicate=DynamicLayer)` makes layers as they are needed;
- a `DynamicLayer` has `keys` and `values` [B, heads, T, size] and `is_initialized`; its `get_mask_sizes` (of a tensor
  in 5.0, of a number later) counts what `get_seq_length` says and the new columns.
"""

from abc import abstractmethod
from typing import cast

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class OwnLayer(DynamicLayer):
    """A layer whose keys and values lie where its subclass puts them.

    Attributes:
        keys: What is kept, [B, heads, T, size]; None before the first pass.
        values: The same of the values.
    """

    keys: Tensor | None
    values: Tensor | None

    @abstractmethod
    def columns_before(self) -> int:
        """Return how many columns stand before the new ones."""

    @abstractmethod
    def take_memory(self, keys: Tensor, values: Tensor) -> None:
        """Set `keys` and `values` to memory for what is kept; called once, with the first new keys and values."""

    @abstractmethod
    def store(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep new keys and values [B, heads, T, size], and return all that the new tokens may look at."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take memory; called by transformers and by `update`."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.take_memory(key_states, value_states)
        self.is_initialized = True

    def get_seq_length(self) -> int:
        """Return how many columns stand before the new ones; called by transformers."""
        return self.columns_before()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Keep new keys and values; called by transformers."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self.store(key_states, value_states)


class OwnCache(Cache):
    """A cache whose layers its subclass makes."""

    def __init__(self) -> None:
        """Begin without layers."""
        super().__init__(layers=[])

    @abstractmethod
    def new_layer(self, index: int) -> OwnLayer:
        """Make a layer."""

    def add_layers(self, count: int) -> None:
        """Make layers up to so many."""
        while len(self.layers) < count:
            self.layers.append(self.new_layer(len(self.layers)))

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new tokens in a layer, and return all that these tokens may look at."""
        self.add_layers(layer_idx + 1)
        layer = cast("OwnLayer", self.layers[layer_idx])
        return layer.update(key_states, value_states)


def growing_cache() -> Cache:
    """Return an empty cache that grows by what every pass adds."""
    return Cache(layer_class_to_replicate=DynamicLayer)


def kept(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    """Return keys and values [B, heads, T, size] of every layer."""
    return [(layer.keys, layer.values) for layer in cache.layers]  # type: ignore[union-attr, misc]


def keep_rows(cache: Cache, rows: Tensor) -> None:
    """Keep these rows of a growing cache only, in this order [B']."""
    cache.batch_select_indices(rows)


def drop_first_columns(cache: Cache, count: int) -> None:
    """Forget the first columns of a growing cache."""
    for layer, (keys, values) in zip(cache.layers, kept(cache), strict=True):
        layer.keys, layer.values = keys[:, :, count:], values[:, :, count:]  # type: ignore[union-attr]


def keeps_keys_and_values(cache: Cache) -> bool:
    """Tell whether a pass has left anything in a cache."""
    return any(isinstance(getattr(layer, "keys", None), Tensor) for layer in cache.layers)
