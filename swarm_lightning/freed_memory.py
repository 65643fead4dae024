"""What becomes of memory that is freed: glibc is told to keep it for the next forward pass, or to return it.

By default it returns the end of its heap whenever more than 128 KB are free there (or twice the largest block that was
ever freed), and a forward pass frees and takes every activation anew. On a CPU a sixth of the evaluation of a small
model went into pages that the system had to clear again. Other C libraries are left as they are.
"""

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the numbers of these options in malloc.h
KEPT = 256 << 20  # bytes at the end of the heap that are kept; with those a process does not grow beyond its peak
LARGEST = 32 << 20  # bytes of a block that lies in the heap; no more are allowed


def keep_freed_memory() -> None:
    """Have up to 256 MiB of freed memory kept for what is needed next, for the rest of the process."""
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGEST)
        library.mallopt(TRIM_THRESHOLD, KEPT)


def return_freed_memory() -> None:
    """Return now what is free, wherever it lies in the heap.

    What is made for one large model after the other would pile up beside it.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
