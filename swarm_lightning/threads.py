"""Threads that stay: work on many pieces, some at a time, without new threads for every call.

Every new thread may get an arena of the C library's allocator, which keeps what was freed in it: with threads that come
and go a process grows with the number of calls.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_threads(work: Callable[[Piece], Result], pieces: Iterable[Piece], threads: int) -> list[Result]:
    """Work on pieces, some at a time.

    Args:
        work: Called once for every piece; must not call this function itself.
        pieces: In any number.
        threads: How many at a time, >= 1.

    Returns:
        What came out, in the order of the pieces. Whatever `work` raises is raised, and then no thread is at work.

    >>> in_threads(lambda piece: 2 * piece, [3, 1, 2], threads=2)
    [6, 2, 4]
    """
    futures = [_pool(os.getpid(), threads).submit(work, piece) for piece in pieces]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process: after a fork, those of its parent are not there."""
    return ThreadPoolExecutor(threads, thread_name_prefix="swarm")
