"""Locks between processes, so that several can share one folder: who holds a lock does the work behind it.

A lock is the operating system's, on a file of its own. It ends with the process, however that ends, so nothing stale
can block the next one; the file itself means nothing.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Take a lock for the length of a `with` block, unless somebody else has it.

    Args:
        path: The lock's file; it and its folder are made.

    Yields:
        Whether the lock was taken.
    """
    try:
        number = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(number)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Take a lock for the length of a `with` block, and wait for it as long as somebody else has it.

    Args:
        path: The lock's file; it and its folder are made.
    """
    number = _locked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(number)


def _locked(path: Path, how: int) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(number, how)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(number), path.stat()):
                    return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # its holder has removed the file: others lock another one
