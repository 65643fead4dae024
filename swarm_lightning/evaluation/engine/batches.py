"""Token ids of many particles' rows to left-padded batches.

A batch holds equally many rows of each of its particles, particle by particle, because the layers that carry many
adapters need it so; where one has fewer, rows without meaning fill its part. Left padding puts the ends of all rows
into the same columns, so that the next token of every row comes from the last column. The padding is masked and takes
no position: a row's numbers are those it would have alone.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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
    skip: int | Sequence[int],
    padding: int,
    device: torch.device,
) -> Batch:
    """Lay out rows of some particles as one batch.

    Args:
        picks: Places of the rows by particle; not all empty.
        sequences: Token ids of all rows, more than `skip` each.
        skip: Number of tokens at the beginning of every row that are not fed: one number, or one for every sequence.
        padding: Id that fills short rows.
        device: Where the tensors are made.

    Returns:
        The batch.

    >>> batch = lay_out({0: [0], 1: [1]}, [[9, 5], [9, 6, 7]], 1, 0, torch.device("cpu"))
    >>> batch.rows, batch.tokens.tolist(), batch.positions.tolist()
    ((0, 1), [[0, 5], [6, 7]], [[0, 1], [1, 2]])
    """
    skips = [skip] * len(sequences) if isinstance(skip, int) else skip
    height = max(len(places) for places in picks.values())
    width = max(len(sequences[place]) - skips[place] for places in picks.values() for place in places)
    before: list[int] = []
    rows: list[int | None] = []
    tokens: list[list[int]] = []
    mask: list[list[int]] = []
    for places in picks.values():
        rows.extend([*places, *[None] * (height - len(places))])
        for place in places:
            fed = sequences[place][skips[place] :]
            before.append(skips[place])
            tokens.append([padding] * (width - len(fed)) + list(fed))
            mask.append([0] * (width - len(fed)) + [1] * len(fed))
        tokens.extend([[padding] * width] * (height - len(places)))
        mask.extend([[0] * (width - 1) + [1]] * (height - len(places)))
        before.extend([min(skips)] * (height - len(places)))
    mask_tensor = torch.tensor(mask, device=device)
    first = torch.tensor(before, device=device)[:, None]
    positions = (mask_tensor.cumsum(dim=1) - 1 + first * mask_tensor).clamp_min(0)
    return Batch(tuple(picks), tuple(rows), torch.tensor(tokens, device=device), mask_tensor, positions)
