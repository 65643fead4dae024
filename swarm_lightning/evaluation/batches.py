"""Token ids to left-padded batches, longest first, and one forward pass over them.

Left padding puts the ends of all rows into the same columns, so that the next token of every row comes from the last
column. The padding is masked and takes no position: a row's numbers are those it would have alone.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


@dataclass(frozen=True)
class Batch:
    """Rows of one forward pass; B rows, T tokens.

    Attributes:
        rows: For every row, its place in the caller's order.
        tokens: Token ids [B, T], padded on the left.
        mask: 1 for a token and 0 for padding [B, T].
        positions: Position of every token in its row [B, T]; 0 for padding.
    """

    rows: tuple[int, ...]
    tokens: Tensor
    mask: Tensor
    positions: Tensor

    @property
    def lengths(self) -> Tensor:
        """Tokens of every row, without padding [B]."""
        return self.mask.sum(dim=1)


def left_padded_batches(
    sequences: Sequence[Sequence[int]], batch_size: int, padding: int, device: torch.device
) -> list[Batch]:
    """Sort sequences by length and lay them out in batches.

    The longest come first, so that a shortage of memory shows at once.

    Args:
        sequences: Token ids, one or more each.
        batch_size: The most rows of a batch.
        padding: Id that fills short rows.
        device: Where the tensors are made.

    Returns:
        Batches that hold every sequence once.

    >>> batch, = left_padded_batches([[5], [6, 7]], 2, 0, torch.device("cpu"))
    >>> batch.rows, batch.tokens.tolist(), batch.positions.tolist()
    ((1, 0), [[6, 7], [0, 5]], [[0, 1], [0, 0]])
    """
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
    batches = []
    for start in range(0, len(order), batch_size):
        rows = tuple(order[start : start + batch_size])
        width = len(sequences[rows[0]])
        tokens = [[padding] * (width - len(sequences[row])) + list(sequences[row]) for row in rows]
        mask = [[0] * (width - len(sequences[row])) + [1] * len(sequences[row]) for row in rows]
        mask_tensor = torch.tensor(mask, device=device)
        positions = (mask_tensor.cumsum(dim=1) - 1).clamp_min(0)
        batches.append(Batch(rows, torch.tensor(tokens, device=device), mask_tensor, positions))
    return batches


class ForwardPass:
    """Calls a causal language model with those of our arguments that its `forward` knows."""

    def __init__(self, model: "PreTrainedModel") -> None:
        """Read the model's signature, once."""
        parameters = inspect.signature(model.forward).parameters
        # A wrapper that only hands arguments on has none of these names itself.
        self._known = None if "input_ids" not in parameters else frozenset(parameters)
        self._model = model

    def __call__(
        self,
        tokens: Tensor,
        mask: Tensor,
        positions: Tensor,
        keep: int,
        cache: "Cache | None" = None,
        use_cache: bool = False,
    ) -> "tuple[Tensor, Cache | None]":
        """Run the model.

        Args:
            tokens: New token ids [B, T].
            mask: Mask of the cached and the new tokens [B, cached + T].
            positions: Positions of the new tokens [B, T].
            keep: For how many columns at the end logits are wanted.
            cache: Keys and values of the tokens before, as an earlier call gave them.
            use_cache: Whether to return keys and values.

        Returns:
            Logits [B, keep, vocabulary], and the cache.

        Raises:
            InputError: If the model keeps no keys and values although they are wanted.
        """
        arguments = {
            "attention_mask": mask,
            "position_ids": positions,
            "past_key_values": cache,
            "use_cache": use_cache,
            "logits_to_keep": keep,
        }
        if self._known is not None:
            arguments = {name: value for name, value in arguments.items() if name in self._known}
        output = self._model(input_ids=tokens, **arguments)
        new_cache = getattr(output, "past_key_values", None)
        if use_cache and new_cache is None:
            raise InputError(
                f"Expected a causal language model with a key-value cache, but {type(self._model).__name__} returns "
                "none. Use another base model."
            )
        return output.logits[:, -keep:], new_cache
