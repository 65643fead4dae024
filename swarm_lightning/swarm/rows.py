"""Weights of particles as rows in files, so that a swarm may be larger than memory.

A row is one file of D float32 numbers, written once and never changed. The swarm then holds a number for every row
instead of its weights: a tensor [N, 1] takes the place of [N, D], and a rule that only copies whole rows (restart,
remember) copies numbers. What is computed with the weights is in `stored_moves.py`.

Since rows are never changed, a checkpoint of the numbers stays whole while the search goes on: rows that it names are
removed only when a later one has been written. Numbers are drawn at random, so none ever names another row.
"""

import mmap
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from swarm_lightning.files import storage_errors

ZERO = 0  # the row of zeros; it has no file
BYTES = 4  # of a float32
SUFFIX = ".row"


class StoredRow:
    """The D weights of one row; a slice of it is read through a mapping of that part of its file.

    What is written into a slice stays in memory: the file does not change.
    """

    def __init__(self, path: Path | None, size: int) -> None:
        """Name a row.

        Args:
            path: Its file; None for zeros.
            size: Number of weights D.
        """
        self._path = path
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, weights: slice, /) -> Tensor:
        """Return some of the weights, float32 on the CPU."""
        start, stop, _ = weights.indices(self._size)
        count = stop - start
        if self._path is None or count <= 0:
            return torch.zeros(max(count, 0))
        before = start * BYTES % mmap.ALLOCATIONGRANULARITY
        with self._path.open("rb") as file:
            mapped = mmap.mmap(
                file.fileno(), before + count * BYTES, access=mmap.ACCESS_COPY, offset=start * BYTES - before
            )
        return torch.frombuffer(mapped, dtype=torch.float32, count=count, offset=before)

    def read(self, start: int, into: Tensor) -> None:
        """Read weights into memory that is there already: no pages are mapped, which costs more with several threads.

        Args:
            start: The first of the D weights that is read.
            into: Where they go, [count] float32 on the CPU, contiguous.

        Raises:
            OSError: If the file can't be read, or ends before them.
        """
        if self._path is None:
            into.zero_()
            return
        view = memoryview(into.numpy().data).cast("B")
        file = os.open(self._path, os.O_RDONLY)
        try:
            left = len(view)
            while left:
                count = os.preadv(file, [view[-left:]], start * BYTES + len(view) - left)
                if count == 0:
                    raise OSError(f"{str(self._path)!r} ends before its {self._size} weights")
                left -= count
        finally:
            os.close(file)


class RowStore:
    """Rows of D weights in a folder of their own."""

    def __init__(self, folder: Path, size: int) -> None:
        """Name the folder; nothing is read or made yet.

        Args:
            folder: Where the rows are; nothing else may be in it.
            size: Number of weights D of a row, >= 1.
        """
        self.folder = folder
        self.size = size
        self._unsynced: set[int] = set()

    def row(self, number: int) -> StoredRow:
        """Return a row by its number."""
        return StoredRow(None if number == ZERO else self.path(number), self.size)

    def rows(self, numbers: Tensor) -> list[StoredRow]:
        """Return the rows that numbers [N, 1] name."""
        return [self.row(number) for number in numbers.flatten().tolist()]

    def path(self, number: int) -> Path:
        """Return the file of a row."""
        return self.folder / f"{number:016x}{SUFFIX}"

    def create(self, count: int) -> list[int]:
        """Make new rows and take the space that they need on the disk.

        Args:
            count: How many.

        Returns:
            Their numbers. What they hold is undefined until it has been written.

        Raises:
            StorageError: If the disk has no room for them, or can't be written; then none of them is left.
        """
        with storage_errors(self.folder):
            made = self._create(count)
        self._unsynced.update(made)
        return made

    def _create(self, count: int) -> list[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        made: list[int] = []
        try:
            for _ in range(count):
                number = secrets.randbits(62) + 1
                file = os.open(self.path(number), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                made.append(number)
                try:
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file, 0, self.size * BYTES)
                    else:
                        os.ftruncate(file, self.size * BYTES)
                finally:
                    os.close(file)
        except OSError:
            self.remove(made)
            raise
        return made

    def write(self, number: int, start: int, weights: Tensor) -> None:
        """Write some weights of a new row.

        Args:
            number: Which row.
            start: The first of the D weights that is written.
            weights: The weights, float32 on the CPU, contiguous.

        Raises:
            StorageError: If the file can't be written.
        """
        with storage_errors(self.folder):
            self._write(number, start, weights)

    def _write(self, number: int, start: int, weights: Tensor) -> None:
        view = memoryview(weights.numpy().data).cast("B")
        file = os.open(self.path(number), os.O_WRONLY)
        try:
            offset, left = start * BYTES, len(view)
            while left:
                written = os.pwrite(file, view[-left:], offset + len(view) - left)
                left -= written
            if hasattr(os, "posix_fadvise"):  # begins to write what is in the cache, and does not wait for it
                os.posix_fadvise(file, offset, len(view), os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)

    def sync(self) -> None:
        """Wait until everything written is on the disk, before a checkpoint names it.

        Raises:
            StorageError: If it can't be written.
        """
        with storage_errors(self.folder):
            for number in sorted(self._unsynced):
                _sync(self.path(number))
            if self._unsynced:
                _sync(self.folder)
        self._unsynced.clear()

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Return those of some rows that are not there, or not whole."""
        wanted = sorted(set(numbers) - {ZERO})
        paths = {number: self.path(number) for number in wanted}
        return [
            number for number, path in paths.items() if not path.is_file() or path.stat().st_size != self.size * BYTES
        ]

    def keep(self, numbers: Iterable[int]) -> None:
        """Remove every row that is not among these."""
        kept = {self.path(number).name for number in numbers}
        for path in list(self.folder.glob(f"*{SUFFIX}")):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        self._unsynced = {number for number in self._unsynced if self.path(number).name in kept}

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove rows."""
        for number in numbers:
            self.path(number).unlink(missing_ok=True)
            self._unsynced.discard(number)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
