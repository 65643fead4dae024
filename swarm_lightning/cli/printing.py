"""What a command prints: it goes on where the reader goes away, as in `swarm fit | head -1`, and says things once."""

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# A pipe without a reader, a terminal that was closed, a connection that is gone.
GONE = frozenset({errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN})


@contextmanager
def outliving_readers() -> Iterator[None]:
    """Print to stdout and stderr as long as somebody reads them, and nowhere from then on.

    Streams that do not write to a file of the operating system stay as they are.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_outliving(stream) for stream in before)
    made = [stream for stream, old in zip((sys.stdout, sys.stderr), before, strict=True) if stream is not old]
    try:
        yield
    finally:
        for stream in made:
            stream.flush()
        sys.stdout, sys.stderr = before


@contextmanager
def without_remarks() -> Iterator[None]:
    """Hide what Lightning says of every trainer: there are several in one command."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Sink(io.FileIO):
    """Takes what is written, though nobody reads it."""

    def write(self, content: Any) -> int:
        """Write, or let the descriptor lead nowhere from now on: for everybody who writes to it."""
        try:
            return super().write(content) or 0
        except OSError as error:
            if error.errno not in GONE:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(memoryview(content).cast("B"))


def _outliving(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        number = stream.fileno()
        stream.flush()
    except (OSError, ValueError) as error:  # closed, no file, or without a reader from the beginning
        if not isinstance(error, OSError) or error.errno not in GONE:
            return stream
    sink = _Sink(number, "w", closefd=False)
    return io.TextIOWrapper(
        sink if stream.write_through else io.BufferedWriter(sink),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
