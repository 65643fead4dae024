"""The resident model as a crowd: any particles of one evaluation, many of them in one forward pass.

It takes up the weights of the particles that a batch needs, and computes what all prompts have in common once per
particle. What is asked, and which rows share a batch, is decided in `generation.py` and `likelihood.py`.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_config import looks_back_over_a_window
from swarm_lightning.doors.transformers_output import Places
from swarm_lightning.evaluation.progress import Meter

if TYPE_CHECKING:
    from transformers import Cache

    from swarm_lightning.experts.resident.resident import ResidentModel
    from swarm_lightning.vectors import Vectors

SHORTEST_PREFIX = 16  # tokens; below, the second pass and the copies cost more than they save


class Crowd:
    """Some particles on the resident base.

    Attributes:
        device: Where the model computes.
        can_share: Whether what rows begin with can be computed once and stand before several of them.
        prefix: Token ids that prompts may begin with, which are computed once; empty where nothing is shared.
    """

    def __init__(
        self,
        adapted: "ResidentModel",
        vectors: "Vectors | None",
        prefix: Sequence[int] = (),
        meter: Meter | None = None,
    ) -> None:
        """Take particles and what their prompts have in common.

        Args:
            adapted: The resident model.
            vectors: Weights of the particles [P, D], or P vectors; None for the plain base, as one particle.
            prefix: Token ids that prompts are expected to begin with; ignored where they are few, or where the model
                can't make use of them.
            meter: Counts the forward passes, where that is another's too.
        """
        self._adapted = adapted
        self._vectors = vectors
        self._meter = Meter() if meter is None else meter
        adapted.carried = None  # what it holds may have moved since
        self._prefixes: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.device = adapted.model.device
        # Between what is shared and the rest of a row there may be padding: the model must be told the positions, and
        # may not look back over a window of columns.
        windowed = looks_back_over_a_window(adapted.model.config.get_text_config())
        self.can_share = adapted.forward.takes_positions and not windowed
        self.prefix = tuple(prefix) if self.can_share and len(prefix) >= SHORTEST_PREFIX else ()

    def forward(
        self,
        particles: tuple[int, ...],
        tokens: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: "Cache | None" = None,
    ) -> Tensor:
        """Run the model as some particles; their rows lie one particle after the other, equally many of each.

        Args:
            particles: Which particles, P of them.
            tokens: New token ids [B, T].
            mask: Mask of the cached and the new tokens [B, cached + T].
            positions: Positions of the new tokens [B, T].
            cache: Where keys and values are kept, if they are.

        Returns:
            Logits of the last column [B, vocabulary].
        """
        self._carry(particles, tokens)
        self._meter.passes += 1
        return self._adapted.forward(tokens, mask, positions, cache)

    def logits_at(
        self,
        places: Places,
        particles: tuple[int, ...],
        tokens: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: "Cache | None" = None,
        together: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Run the model as some particles, and give logits of some places, few enough at a time.

        Args:
            places: Rows and columns whose logits are wanted, W of them.
            particles: Which particles, P of them; their rows lie one particle after the other.
            tokens: New token ids [B, T].
            mask: Mask of the cached and the new tokens [B, cached + T].
            positions: Positions of the new tokens [B, T].
            cache: Where keys and values are kept, if they are.
            together: So many wanted places, one after the other, are always given together; it divides W.

        Yields:
            Which of the wanted places these are [w], and their logits [w, vocabulary].
        """
        self._carry(particles, tokens)
        self._meter.passes += 1
        yield from self._adapted.forward.at(places, tokens, mask, positions, cache, together)

    def shared(self, sequences: Sequence[Sequence[int]]) -> int:
        """Return how many tokens need not be fed for these rows: those of the prefix, or 0 if a row begins otherwise.

        Args:
            sequences: Token ids of the rows' prompts.
        """
        length = len(self.prefix)
        fits = all(len(ids) > length and tuple(ids[:length]) == self.prefix for ids in sequences)
        return length if fits else 0

    def prefixes(self, particles: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
        """Return keys and values of the prefix, computed at the first use.

        Args:
            particles: Which particles, P of them.

        Returns:
            For every layer, keys and values [P, heads, tokens, size].
        """
        new = tuple(particle for particle in particles if particle not in self._prefixes)
        if new:
            self._compute_prefixes(new)
        layers = zip(*(self._prefixes[particle] for particle in particles), strict=True)
        return [tuple(torch.stack(parts) for parts in zip(*layer, strict=True)) for layer in layers]  # type: ignore[misc]

    def forget(self) -> None:
        """Let go of the keys and values of the prefix; they are computed again where needed."""
        self._prefixes.clear()

    def _compute_prefixes(self, particles: tuple[int, ...]) -> None:
        from swarm_lightning.doors.transformers_cache import growing_cache, kept

        cache = growing_cache()
        tokens = torch.tensor([self.prefix] * len(particles), device=self.device)
        positions = torch.arange(len(self.prefix), device=self.device).expand_as(tokens)
        self.forward(particles, tokens, torch.ones_like(tokens), positions, cache)
        for row, particle in enumerate(particles):
            self._prefixes[particle] = [(keys[row], values[row]) for keys, values in kept(cache)]

    def _carry(self, particles: tuple[int, ...], tokens: Tensor) -> None:
        batch = self._adapted.batch
        batch.rows, batch.tokens = tokens.shape
        # Crowds of one evaluation, each with a prefix of its own, share their vectors.
        if self._vectors is None or self._adapted.carried == (id(self._vectors), particles):
            return
        first, last = particles[0], particles[-1] + 1
        if not isinstance(self._vectors, Tensor):
            self._adapted.load([self._vectors[particle] for particle in particles])
        elif particles == tuple(range(first, last)):
            self._adapted.load(self._vectors[first:last])
        else:
            self._adapted.load(self._vectors[list(particles)])
        self._adapted.carried = (id(self._vectors), particles)


def common_prefix(sequences: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the tokens that all sequences begin with, leaving each at least one of its own.

    >>> common_prefix([[1, 2, 3], [1, 2, 4, 5], [1, 2]])
    (1,)
    """
    if not sequences:
        return ()
    first, last = min(map(list, sequences)), max(map(list, sequences))  # what these two share, all between them share
    length = min(min(len(sequence) for sequence in sequences) - 1, len(first))
    for place in range(length):
        if first[place] != last[place]:
            return tuple(first[:place])
    return tuple(first[: max(length, 0)])
