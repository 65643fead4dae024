"""Texts that a model reads bit by bit, and that branch: several may go on from one.

What texts have in common is read once: a text that branches hands its keys and values on to all that go on from it.
Rows of a pass are few tokens, as many as were added to each text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.evaluation.engine.batches import lay_out
from swarm_lightning.evaluation.engine.crowd import Crowd

if TYPE_CHECKING:
    from transformers import Cache


class Reading:
    """Some texts, read by all particles of a crowd.

    Attributes:
        texts: Token ids of every text, S of them, as far as they are read.
        tokens: Tokens that were read so far, by all particles together.
    """

    def __init__(self, particles: int, padding: int) -> None:
        """Begin without texts.

        Args:
            particles: How many particles read, P: the first ones of a crowd.
            padding: Id that fills short rows.
        """
        self._particles, self._padding = tuple(range(particles)), padding
        self.texts: list[tuple[int, ...]] = []
        self.tokens = 0
        self._cache: Cache | None = None
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    def read(self, crowd: Crowd, parents: Sequence[int], new: Sequence[Sequence[int]]) -> Tensor:
        """Read on.

        Args:
            crowd: The particles on the resident model, which may have been away in between.
            parents: For every text, which of those before it goes on from; of no account at the first call.
            new: The tokens that are added to each, one or more.

        Returns:
            Logits of the next token, of every particle and text [P, S, vocabulary].
        """
        from swarm_lightning.doors.transformers_cache import growing_cache

        first = not self.texts
        before = [() if first else self.texts[parent] for parent in parents]
        self.texts = [(*old, *more) for old, more in zip(before, new, strict=True)]
        ragged = len({len(more) for more in new}) > 1
        # Padding in the middle of a row needs a model that can be told of it.
        if first or (self._cache is not None and ragged and not crowd.can_share):
            self._cache = growing_cache() if first else None
        if self._cache is None or first:
            nothing = torch.zeros(len(self.texts), 0, dtype=torch.long)
            return self._forward(crowd, self.texts, [0] * len(self.texts), nothing)
        self._keep(parents)
        return self._forward(crowd, self.texts, [len(old) for old in before], self._mask)

    def _forward(self, crowd: Crowd, texts: Sequence[Sequence[int]], skips: Sequence[int], mask: Tensor) -> Tensor:
        count = len(self._particles)
        part = lay_out({0: range(len(texts))}, texts, skips, self._padding, crowd.device)
        self.tokens += count * int(part.mask.sum())
        self._mask = torch.cat([mask.to(part.mask.device), part.mask], dim=1)
        rows = (part.tokens, self._mask, part.positions)
        tokens, whole, positions = (one.repeat(count, 1) for one in rows)
        logits = crowd.forward(self._particles, tokens, whole, positions, self._cache)
        return logits.unflatten(0, (count, len(texts)))

    def _keep(self, parents: Sequence[int]) -> None:
        """Keep the keys and values of the texts that go on, once for each that goes on from them."""
        from swarm_lightning.doors.transformers_cache import keep_rows

        if list(parents) == list(range(len(self._mask))):
            return
        assert self._cache is not None
        chosen = torch.tensor(parents, device=self._mask.device)
        starts = torch.arange(len(self._particles), device=chosen.device)[:, None] * len(self._mask)
        keep_rows(self._cache, (starts + chosen).flatten())
        self._mask = self._mask[chosen]
