"""Cuts what is to be asked into lots: pieces of about the same size for the ranks, with prompts of similar lengths.

The lots are the same whatever the number of ranks, so that no result depends on it.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence

LEAST_PAIRS = 64  # of a lot, where a forward pass holds so many; a round has two such lots or more
Pair = tuple[int, int]


def lots_by_task(
    asked: Mapping[int, Sequence[int]], tasks: Sequence[str], lengths: Sequence[int], rows: int, lots: int
) -> list[list[Pair]]:
    """Cut pairs of particles and examples into lots of one task each: tasks share neither prompts nor ways of asking.

    Args:
        asked: Places of the examples to ask, by particle.
        tasks: The task of every example.
        lengths: Length of every example's prompt.
        rows: Rows of one forward pass.
        lots: How many lots a task has at most; see `lots_of`.

    Returns:
        Lots of (particle, example) pairs, task by task; every pair stands in one.

    >>> lots_by_task({0: [0, 1, 2]}, ["sums", "towns", "sums"], [5, 9, 7], rows=64, lots=4)
    [[(0, 2), (0, 0)], [(0, 1)]]
    """
    cut: list[list[Pair]] = []
    for task in dict.fromkeys(tasks):
        of_task = {particle: [place for place in places if tasks[place] == task] for particle, places in asked.items()}
        cut += lots_of(of_task, lengths, rows, lots)
    return cut


def lots_of(asked: Mapping[int, Sequence[int]], lengths: Sequence[int], rows: int, lots: int) -> list[list[Pair]]:
    """Cut pairs of particles and examples into lots of about the same size, the longest prompts first.

    A lot holds equally many examples of each of its particles, of similar lengths, as far as they go round.

    Args:
        asked: Places of the examples to ask, by particle.
        lengths: Length of every example's prompt.
        rows: Rows of one forward pass.
        lots: How many lots there are at most; fewer where each would have less than a pass or 64 pairs.

    Returns:
        Lots of (particle, example) pairs; every pair stands in one.

    >>> lots_of({0: [0, 1], 2: [1, 0]}, [5, 9], rows=2, lots=4)
    [[(0, 1), (2, 1)], [(0, 0), (2, 0)]]
    """
    queues = {particle: deque(sorted(places, key=lambda place: -lengths[place])) for particle, places in asked.items()}
    left = sum(len(places) for places in asked.values())
    count = max(min(lots, left // min(rows, LEAST_PAIRS)), 1)
    cut: list[list[Pair]] = []
    while any(queues.values()):
        size = math.ceil(left / max(count - len(cut), 1))
        waiting = [particle for particle, queue in queues.items() if queue][:size]
        longest = max(len(queues[particle]) for particle in waiting)
        height = next(
            (
                height
                for height in range(math.ceil(size / len(waiting)), longest)
                if sum(min(height, len(queues[particle])) for particle in waiting) >= size
            ),
            longest,
        )
        cut.append(
            [
                (particle, queues[particle].popleft())
                for particle in waiting
                for _ in range(min(height, len(queues[particle])))
            ]
        )
        left -= len(cut[-1])
    return cut
