"""Replies of many particles to many prompts, by one loop over a causal language model with a key-value cache.

A reply is the same whatever shares its batch: padding is masked and takes no position, and every row ends by itself.
A row that is finished leaves; when half of the slots are free, waiting prompts take them, and when none waits, the
batch shrinks. The rows of a batch lie particle by particle, equally many of each.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from swarm_lightning.evaluation.engine.batches import Batch, lay_out, queues_of
from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.progress import Heard

# Given rows and the new tokens of each, tells which of them are over.
RowsOver = Callable[[Sequence[int], Sequence[Sequence[int]]], Sequence[bool]]
# Given logits [B, V], their rows and how many new tokens each has, chooses the next token of each [B].
Choose = Callable[[Tensor, Sequence[int], Sequence[int]], Tensor]
NO_TOKEN = -1  # where the logits are NaN or infinite


@dataclass(frozen=True)
class TokenDecoding:
    """How replies are decoded.

    Attributes:
        limit: The most new tokens of a reply, >= 1.
        ends: Ids that end a reply.
        padding: Id that fills short rows.
        slots: Rows of one forward pass at most, >= 1; with fewer slots than particles, one row of each.
        skip: Tokens at the beginning of all prompts that are the crowd's prefix and are not fed; 0 for none.
        over: Asked after every new token which rows need no further one.
        choose: Chooses tokens; the most likely ones where not given.
        stop: Strings that end a reply, which `over` looks for: for an engine that looks by itself.
        heard: Told after every pass how many rows are over, and how many tokens were read.
        leave: Asked before every pass whether to end now, with rows that stay open.
    """

    limit: int
    ends: frozenset[int]
    padding: int
    slots: int
    skip: int = 0
    over: RowsOver | None = None
    choose: Choose | None = None
    stop: Sequence[str] = ()
    heard: Heard | None = None
    leave: Callable[[], bool] | None = None


@dataclass
class Slot:
    """What runs in one slot: its row in the caller's order, None if it is free, and how many columns the row fills."""

    row: int | None = None
    columns: int = 0


@dataclass
class TokenReplies:
    """What has been generated.

    Attributes:
        tokens: The new tokens of every row, without the one that ends the text.
        generated: Number of tokens that were computed for rows, those that end a text included.
        broken: Rows that ended because the model gave NaN or infinity.
        open: Rows that were left before they were over; their tokens mean nothing.
    """

    tokens: list[list[int]]
    generated: int = field(default=0)
    broken: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)


@torch.inference_mode()
def generate_tokens(
    crowd: Crowd, particles: Sequence[int], prompts: Sequence[Sequence[int]], decoding: TokenDecoding
) -> TokenReplies:
    """Choose tokens after prompts.

    Args:
        crowd: The particles on the resident model.
        particles: The particle of every row.
        prompts: The token ids of every row's prompt.
        decoding: Length, ends, number of slots and choice.

    Returns:
        For every row the new tokens up to the end of text (without it), or to the one after which it was over.
    """
    replies = TokenReplies([[] for _ in prompts])
    if prompts:
        _Run(crowd, particles, prompts, decoding, replies).finish()
    return replies


def most_likely(logits: Tensor) -> Tensor:
    """Choose tokens.

    Args:
        logits: Logits [B, vocabulary].

    Returns:
        The most likely token of every row [B]; -1 where there is none, because a logit is NaN or the largest infinite.

    >>> most_likely(torch.tensor([[0.0, 2.0, 1.0], [0.0, torch.nan, 1.0], [0.0, torch.inf, 1.0]])).tolist()
    [1, -1, -1]
    """
    tokens = logits.argmax(dim=-1, keepdim=True)  # a NaN counts as the largest
    return torch.where(logits.gather(-1, tokens).isfinite(), tokens, NO_TOKEN).squeeze(-1)


class _Run:
    """The loop over one set of rows: slots [P, n] that are filled, stepped and shrunk until all rows are done."""

    def __init__(
        self,
        crowd: Crowd,
        particles: Sequence[int],
        prompts: Sequence[Sequence[int]],
        decoding: TokenDecoding,
        replies: TokenReplies,
    ) -> None:
        from swarm_lightning.evaluation.engine.row_cache import RowCache  # imports transformers

        self.crowd, self.prompts, self.decoding, self.replies = crowd, prompts, decoding, replies
        self.queues: dict[int, deque[int]] = queues_of(particles, [len(prompt) for prompt in prompts])
        self.particles = tuple(self.queues)
        most = max(len(queue) for queue in self.queues.values())
        fitting = max(1, decoding.slots // len(self.particles))
        self.height = math.ceil(most / math.ceil(most / fitting))  # passes of the same size, none of a few rows
        longest = max(len(prompt) for prompt in prompts)
        # Rows that come later need room behind the older ones; they are moved to the left when it is used up.
        room = decoding.limit if most <= self.height else 2 * decoding.limit + 16
        count = len(self.particles) * self.height
        prefixes = crowd.prefixes(self.particles) if decoding.skip else None
        self.cache = RowCache(count, longest + room, prefixes)
        self.cache.end = longest
        self.longest = longest
        self.slots = [Slot() for _ in range(count)]
        device = crowd.device
        self.pending = torch.full((count,), decoding.padding, device=device)
        self.positions = torch.zeros(count, dtype=torch.long, device=device)
        self.mask = torch.zeros(count, longest + room, dtype=torch.long, device=device)

    def finish(self) -> None:
        """Run until every row is done, or is left."""
        while True:
            if self.decoding.leave is not None and self.decoding.leave():
                begun = {slot.row for slot in self.slots if slot.row is not None}
                self.replies.open.update(begun, *self.queues.values())
                return
            running = sum(slot.row is not None for slot in self.slots)
            if 2 * running <= len(self.slots) and (free := self._free_slots()):
                self._fill(free)
            elif running:
                if not any(self.queues.values()):
                    self._shrink()
                self._step()
            else:
                return

    def _free_slots(self) -> dict[int, list[int]]:
        """Return the free slots of particles with waiting rows, as many as can be filled, by particle."""
        free = {}
        for index, particle in enumerate(self.particles):
            waiting = len(self.queues[particle])
            places = [place for place in self._slots_of(index) if self.slots[place].row is None][:waiting]
            if places:
                free[particle] = places
        return free

    def _fill(self, free: dict[int, list[int]]) -> None:
        """Put waiting rows into free slots and choose their first tokens."""
        picks = {particle: [self.queues[particle].popleft() for _ in places] for particle, places in free.items()}
        taken = [place for places in free.values() for place in places]
        skip = self.decoding.skip
        batch = lay_out(picks, self.prompts, skip, self.decoding.padding, self.crowd.device)
        sources = [place for place, row in enumerate(batch.rows) if row is not None]
        chosen = self._first_tokens(batch, sources, taken)
        slots = torch.tensor(taken, device=self.crowd.device)
        lengths = [len(self.prompts[row]) for row in batch.rows if row is not None]
        self.pending[slots] = chosen.clamp(min=0)
        self.positions[slots] = torch.tensor(lengths, device=self.crowd.device)
        end, width = self.cache.end, batch.mask.shape[1]
        self.mask[slots] = 0
        self.mask[slots, end - width : end] = batch.mask[sources]
        self.mask[slots, end - width - skip : end - width] = 1
        for place, row, length in zip(taken, (row for row in batch.rows if row is not None), lengths, strict=True):
            # Between a prefix and the rest of a short row there is padding.
            self.slots[place] = Slot(row, width + skip if skip else length)
        self._take_in(taken, chosen.tolist(), sum(lengths) - skip * len(lengths))

    def _first_tokens(self, batch: Batch, sources: list[int], taken: list[int]) -> Tensor:
        from swarm_lightning.evaluation.engine.row_cache import Filling

        device, skip = self.crowd.device, self.decoding.skip
        height = len(batch.rows) // len(batch.particles)
        prefix_of = [self.particles.index(particle) for particle in batch.particles for _ in range(height)]
        side_by_side = taken == list(range(taken[0], taken[-1] + 1))
        self.cache.fill(
            Filling(
                None if len(sources) == len(batch.rows) else torch.tensor(sources, device=device),
                slice(taken[0], taken[-1] + 1) if side_by_side else torch.tensor(taken, device=device),
                torch.tensor(prefix_of, device=device),
            )
        )
        mask = torch.cat([batch.mask.new_ones(len(batch.rows), skip), batch.mask], dim=1)
        logits = self.crowd.forward(batch.particles, batch.tokens, mask, batch.positions, self.cache)
        return self._choose(logits[sources], [row for row in batch.rows if row is not None])

    def _step(self) -> None:
        """Choose one more token of every running row."""
        running = [place for place, slot in enumerate(self.slots) if slot.row is not None]
        used = max(self.slots[place].columns for place in running)
        if self.cache.end == self.mask.shape[1]:
            self._move_left(used)
        end = self.cache.end
        start = end - used
        self.mask[:, end] = 1  # of a free slot too, so that no softmax is empty
        self.cache.step(start)
        logits = self.crowd.forward(
            self.particles,
            self.pending.unsqueeze(1),
            self.mask[:, start : end + 1],
            self.positions.unsqueeze(1),
            self.cache,
        )
        self.cache.end = end + 1
        # Of a free slot any: row 0 stands for it.
        found = self._choose(logits, [slot.row or 0 for slot in self.slots])
        self.pending = found.clamp(min=0)
        # The token in a free slot means nothing, but its position must be one that the model has.
        self.positions.add_(1).clamp_(max=self.longest + self.decoding.limit - 1)
        for place in running:
            self.slots[place].columns += 1
        chosen = found.tolist()
        self._take_in(running, [chosen[place] for place in running], len(running))

    def _choose(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """Choose the next token of rows [B] from their logits [B, V]; -1 where there is none."""
        likely = most_likely(logits)
        if self.decoding.choose is None:
            return likely
        drawn = self.decoding.choose(logits, rows, [len(self.replies.tokens[row]) for row in rows])
        return drawn.where(likely != NO_TOKEN, NO_TOKEN)

    def _take_in(self, places: Sequence[int], chosen: Sequence[int], read: int) -> None:
        """Write down new tokens, for which so many were read, and free the slots of rows that are done."""
        self._write_down(places, chosen)
        if self.decoding.heard is not None:
            self.decoding.heard(sum(self.slots[place].row is None for place in places), read)

    def _write_down(self, places: Sequence[int], chosen: Sequence[int]) -> None:
        self.replies.generated += len(places)
        going_on = []
        for place, token in zip(places, chosen, strict=True):
            row = self.slots[place].row
            assert row is not None
            tokens = self.replies.tokens[row]
            if token == NO_TOKEN:
                self.replies.broken.add(row)
                self.slots[place].row = None
                continue
            if token in self.decoding.ends:
                self.slots[place].row = None
                continue
            tokens.append(token)
            if len(tokens) == self.decoding.limit:
                self.slots[place].row = None
            else:
                going_on.append((place, row, tokens))
        if self.decoding.over is None or not going_on:
            return
        over = self.decoding.over([row for _, row, _ in going_on], [tokens for _, _, tokens in going_on])
        for (place, _, _), is_over in zip(going_on, over, strict=True):
            if is_over:
                self.slots[place].row = None

    def _shrink(self) -> None:
        """Keep only slots in use, if that halves them; particles without any are left out."""
        in_use = [
            [place for place in self._slots_of(index) if self.slots[place].row is not None]
            for index in range(len(self.particles))
        ]
        height = max(len(places) for places in in_use)
        kept = [index for index, places in enumerate(in_use) if places]
        if 2 * height * len(kept) > len(self.slots):
            return
        order: list[int] = []
        for index in kept:
            free = [place for place in self._slots_of(index) if self.slots[place].row is None]
            order.extend([*in_use[index], *free][:height])
        selected = torch.tensor(order, device=self.crowd.device)
        self.cache.keep(selected)
        self.pending, self.positions = self.pending[selected], self.positions[selected]
        self.mask = self.mask[selected]
        self.slots = [self.slots[place] for place in order]
        self.particles = tuple(self.particles[index] for index in kept)
        self.queues = {particle: self.queues[particle] for particle in self.particles}
        self.height = height

    def _move_left(self, used: int) -> None:
        end = self.cache.end
        by = end - max(used, self.longest)
        self.cache.move_left(by)
        self.mask[:, : end - by] = self.mask[:, by:end].clone()
        self.mask[:, end - by :] = 0

    def _slots_of(self, index: int) -> range:
        """Return the slots of the particle with this place among those that run."""
        return range(index * self.height, (index + 1) * self.height)
