"""Locks between processes, so that several can share one folder: who holds a lock does the work behind it.

A lock is the operating system's, on a file of its own. It ends with the process, however that ends, so nothing stale
can block the next one; the file itself means nothing.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Take a lock for the length of a `with` block, unless somebody else has it.

    Args:
        path: The lock's file; it and its folder are made.

    Yields:
        Whether the lock was taken.
    """
    number = _open(path)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(number)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Take a lock for the length of a `with` block, and wait for it as long as somebody else has it.

    Args:
        path: The lock's file; it and its folder are made.
    """
    number = _open(path)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
