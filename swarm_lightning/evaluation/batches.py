"""Token ids of many particles' rows to left-padded batches, and one forward pass over them.

A batch holds equally many rows of each of its particles, particle by particle, because the layers that carry many
adapters need it so; where one has fewer, rows without meaning fill its part. Left padding puts the ends of all rows
into the same columns, so that the next token of every row comes from the last column. The padding is masked and takes
no position: a row's numbers are those it would have alone.
"""

import inspect
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

# Layers that keep keys and values of every token; any other keeps a state that padding would change.
ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


@dataclass(frozen=True)
class Batch:
    """Rows of one forward pass; B rows, equally many of each particle, and T tokens.

    Attributes:
        particles: The particles of the batch, in order.
        rows: For every row, its place in the caller's order; None where it only fills the batch up.
        tokens: Token ids [B, T], padded on the left.
        mask: 1 for a token and 0 for padding [B, T].
        positions: Position of every token in its row [B, T], the tokens that were skipped counted; 0 for padding.
    """

    particles: tuple[int, ...]
    rows: tuple[int | None, ...]
    tokens: Tensor
    mask: Tensor
    positions: Tensor


def queues_of(particles: Sequence[int], lengths: Sequence[int]) -> dict[int, deque[int]]:
    """Sort every particle's rows by length, the longest first, so that a shortage of memory shows at once.

    Args:
        particles: The particle of every row.
        lengths: The length of every row.

    Returns:
        Places of the rows by particle, in the order of the particles' numbers.

    >>> {particle: list(queue) for particle, queue in queues_of([1, 0, 1], [5, 4, 6]).items()}
    {0: [1], 1: [2, 0]}
    """
    queues: dict[int, deque[int]] = {particle: deque() for particle in sorted(set(particles))}
    for place in sorted(range(len(particles)), key=lambda place: -lengths[place]):
        queues[particles[place]].append(place)
    return queues


def groups_of(particles: Sequence[int], most: int | None) -> list[list[int]]:
    """Cut particles into groups of at most so many; None for no limit.

    >>> groups_of([0, 2, 3], 2), groups_of([0, 2, 3], None)
    ([[0, 2], [3]], [[0, 2, 3]])
    """
    size = most or max(len(particles), 1)
    return [list(particles[start : start + size]) for start in range(0, len(particles), size)]


def lay_out(
    picks: Mapping[int, Sequence[int]],
    sequences: Sequence[Sequence[int]],
    skip: int,
    padding: int,
    device: torch.device,
) -> Batch:
    """Lay out rows of some particles as one batch.

    Args:
        picks: Places of the rows by particle; not all empty.
        sequences: Token ids of all rows, more than `skip` each.
        skip: Number of tokens at the beginning of every row that are not fed.
        padding: Id that fills short rows.
        device: Where the tensors are made.

    Returns:
        The batch.

    >>> batch = lay_out({0: [0], 1: [1]}, [[9, 5], [9, 6, 7]], 1, 0, torch.device("cpu"))
    >>> batch.rows, batch.tokens.tolist(), batch.positions.tolist()
    ((0, 1), [[0, 5], [6, 7]], [[0, 1], [1, 2]])
    """
    height = max(len(places) for places in picks.values())
    width = max(len(sequences[place]) for places in picks.values() for place in places) - skip
    rows: list[int | None] = []
    tokens: list[list[int]] = []
    mask: list[list[int]] = []
    for places in picks.values():
        rows.extend([*places, *[None] * (height - len(places))])
        for place in places:
            fed = sequences[place][skip:]
            tokens.append([padding] * (width - len(fed)) + list(fed))
            mask.append([0] * (width - len(fed)) + [1] * len(fed))
        tokens.extend([[padding] * width] * (height - len(places)))
        mask.extend([[0] * (width - 1) + [1]] * (height - len(places)))
    mask_tensor = torch.tensor(mask, device=device)
    positions = (mask_tensor.cumsum(dim=1) - 1 + skip * mask_tensor).clamp_min(0)
    return Batch(tuple(picks), tuple(rows), torch.tensor(tokens, device=device), mask_tensor, positions)


class ForwardPass:
    """Calls a causal language model with those of our arguments that its `forward` knows."""

    def __init__(self, model: "PreTrainedModel") -> None:
        """Read the model's signature, once.

        Raises:
            InputError: If a layer keeps something else than keys and values.
        """
        kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ATTENTION) - ATTENTION
        if kinds:
            raise InputError(
                f"Expected a causal language model whose layers all keep keys and values, but {type(model).__name__} "
                f"has layers of the kind {', '.join(sorted(kinds))}. Use another base model."
            )
        parameters = inspect.signature(model.forward).parameters
        # A wrapper that only hands arguments on has none of these names itself.
        self._known = None if "input_ids" not in parameters else frozenset(parameters)
        # transformers 5.24 renamed the argument; models that keep the old name are still about.
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"
        self._model = model

    @property
    def takes_positions(self) -> bool:
        """Whether the model lets its caller say which position a token has."""
        return self._known is None or "position_ids" in self._known

    def __call__(
        self, tokens: Tensor, mask: Tensor, positions: Tensor, keep: int, cache: "Cache | None" = None
    ) -> Tensor:
        """Run the model.

        Args:
            tokens: New token ids [B, T].
            mask: Mask of the cached and the new tokens [B, cached + T].
            positions: Positions of the new tokens [B, T].
            keep: For how many columns at the end logits are wanted.
            cache: Where keys and values are kept, if they are.

        Returns:
            Logits [B, keep, vocabulary].

        Raises:
            InputError: If the model keeps no keys and values although it should.
        """
        arguments = {
            "attention_mask": mask,
            "position_ids": positions,
            self._cache_name: cache,
            "use_cache": cache is not None,
            "logits_to_keep": keep,
        }
        if self._known is not None:
            arguments = {name: value for name, value in arguments.items() if name in self._known}
        output = self._model(input_ids=tokens, **arguments)
        if cache is not None and not cache.layers:
            raise InputError(
                f"Expected a causal language model with a key-value cache, but {type(self._model).__name__} keeps "
                "none. Use another base model."
            )
        logits: Tensor = output.logits[:, -keep:]
        return logits
