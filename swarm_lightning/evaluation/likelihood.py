"""How likely particles find given continuations of prompts, without generating.

A row is shared wherever what a particle is fed is the same: choices of one token each (letters, mostly) cost one row
per prompt, and equal continuations get exactly equal numbers. Logits are computed for the continuations' tokens only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_output import Places
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
    # A place of the batch is wanted once, by whoever reads a token there.
    width = batch.tokens.shape[1]
    readers: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for row, fed in enumerate(batch.rows):
        for number in [] if fed is None else members[fed]:
            one = continuations[number]
            for place in range(one.split, len(one.ids)):
                column = width - len(one.ids) + place
                readers.setdefault((row, column), []).append((one.ids[place], number))
    places = Places([row for row, _ in readers], [column for _, column in readers])
    read = list(readers.values())
    mask = torch.cat([batch.mask.new_ones(len(batch.rows), skip), batch.mask], dim=1)
    cache = _prefix_cache(crowd, batch) if skip else None
    for wanted, logits in crowd.logits_at(places, batch.particles, batch.tokens, mask, batch.positions, cache):
        found = [(index, *reader) for index, place in enumerate(wanted.tolist()) for reader in read[place]]
        numbers = torch.tensor([number for *_, number in found])
        index, token = (torch.tensor(part, device=logits.device) for part in list(zip(*found, strict=True))[:2])
        logarithms = logits[index, token].float() - logits.float().logsumexp(dim=-1)[index]
        sums.index_add_(0, numbers, logarithms.cpu().double())
        surprises.index_add_(0, numbers, (logits.argmax(dim=-1)[index] != token).long().cpu())


def _prefix_cache(crowd: Crowd, batch: Batch) -> "RowCache":
    from swarm_lightning.evaluation.row_cache import Filling, RowCache

    cache = RowCache(0, 0, crowd.prefixes(batch.particles))
    height = len(batch.rows) // len(batch.particles)
    prefix_of = torch.arange(len(batch.particles), device=crowd.device).repeat_interleave(height)
    cache.fill(Filling(None, slice(0, 0), prefix_of))
    return cache
