"""How likely particles find given continuations of prompts, without generating.

A row is shared wherever what a particle is fed is the same: choices of one token each (letters, mostly) cost one row
per prompt, and equal continuations get exactly equal numbers. Logits are computed for the continuations' columns only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.evaluation.batches import Batch, lay_out, queues_of
from swarm_lightning.evaluation.crowd import Crowd
from swarm_lightning.evaluation.tokens import Continuation

if TYPE_CHECKING:
    from swarm_lightning.evaluation.row_cache import RowCache


@torch.inference_mode()
def loglikelihoods(
    crowd: Crowd,
    particles: Sequence[int],
    continuations: Sequence[Continuation],
    slots: int,
    padding: int,
    skip: int = 0,
) -> list[tuple[float, bool]]:
    """Sum the log-probabilities of continuations' tokens, in float32.

    Args:
        crowd: The particles on the resident model.
        particles: The particle of every continuation.
        continuations: Token ids with their prompts'.
        slots: Rows of one forward pass at most; with fewer slots than particles, one row of each.
        padding: Id that fills short rows.
        skip: Tokens at the beginning of all rows that are the crowd's prefix and are not fed; 0 for none.

    Returns:
        For every continuation its natural logarithm, and whether each of its tokens is the likeliest at its place.
    """
    # The last token is only predicted, never fed.
    places: dict[tuple[int, tuple[int, ...]], int] = {}
    members: list[list[int]] = []
    for number, (particle, one) in enumerate(zip(particles, continuations, strict=True)):
        place = places.setdefault((particle, one.ids[:-1]), len(places))
        members.extend([] for _ in range(place + 1 - len(members)))
        members[place].append(number)
    sequences = [fed for _, fed in places]
    queues = queues_of([particle for particle, _ in places], [len(fed) for fed in sequences])
    sums = torch.zeros(len(continuations), dtype=torch.float64)
    surprises = torch.zeros(len(continuations), dtype=torch.long)
    while any(queues.values()):
        waiting = [particle for particle, queue in queues.items() if queue]
        height = max(1, slots // len(waiting))
        picks = {
            particle: [queues[particle].popleft() for _ in range(min(height, len(queues[particle])))]
            for particle in waiting
        }
        batch = lay_out(picks, sequences, skip, padding, crowd.device)
        _add_batch(crowd, batch, members, continuations, sums, surprises, skip)
    return list(zip(sums.tolist(), (surprises == 0).tolist(), strict=True))


def _add_batch(
    crowd: Crowd,
    batch: Batch,
    members: Sequence[Sequence[int]],
    continuations: Sequence[Continuation],
    sums: Tensor,
    surprises: Tensor,
    skip: int,
) -> None:
    wanted = [
        (row, len(one.ids) - place, one.ids[place], number)
        for row, fed in enumerate(batch.rows)
        if fed is not None
        for number in members[fed]
        for one in (continuations[number],)
        for place in range(one.split, len(one.ids))
    ]
    row, from_end, token, number = (torch.tensor(column) for column in zip(*wanted, strict=True))
    keep = int(from_end.max())
    mask = torch.cat([batch.mask.new_ones(len(batch.rows), skip), batch.mask], dim=1)
    cache = _prefix_cache(crowd, batch) if skip else None
    logits = crowd.forward(batch.particles, batch.tokens, mask, batch.positions, keep, cache)
    row, column, token = (part.to(logits.device) for part in (row, keep - from_end, token))
    normaliser = logits.float().logsumexp(dim=-1)[row, column]
    logarithms = logits[row, column, token].float() - normaliser
    sums.index_add_(0, number, logarithms.cpu().double())
    surprises.index_add_(0, number, (logits.argmax(dim=-1)[row, column] != token).long().cpu())


def _prefix_cache(crowd: Crowd, batch: Batch) -> "RowCache":
    from swarm_lightning.evaluation.row_cache import Filling, RowCache

    cache = RowCache(0, 0, crowd.prefixes(batch.particles))
    height = len(batch.rows) // len(batch.particles)
    prefix_of = torch.arange(len(batch.particles), device=crowd.device).repeat_interleave(height)
    cache.fill(Filling(None, slice(0, 0), prefix_of))
    return cache
