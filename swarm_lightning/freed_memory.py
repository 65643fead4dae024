"""What becomes of memory that is freed: glibc is told to keep it for the next forward pass, or to return it.

By default it returns the end of its heap whenever more than 128 KB are free there (or twice the largest block that was
ever freed), and a forward pass frees and takes every activation anew. On a CPU a sixth of the evaluation of a small
model went into pages that the system had to clear again. Other C libraries are left as they are.
"""

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the numbers of these options in malloc.h
LARGE = 30_000_000  # weights of a base from which on clearing pages is little beside the arithmetic


def keep_freed_memory(weights: int) -> None:
    """Have freed memory kept for what is needed next, for the rest of the process.

    Passes of many lengths leave gaps in the heap. For a small base they are some megabytes. At SmolLM2-135M's size they
    were a third of the peak on top of the model: 735 MB for 8 particles' replies to 64 prompts and 671 MB for their
    likelihoods, 521 and 480 MB where only blocks of up to 4 MiB lie in the heap and larger ones go back to the system.

    Args:
        weights: Number of weights of the base that is evaluated.
    """
    if weights < LARGE:
        _set(largest=32 << 20, kept=256 << 20)  # no larger blocks are allowed in the heap
    else:
        _set(largest=4 << 20, kept=64 << 20)


def return_freed_memory() -> None:
    """Have large blocks that are freed given back to the system at once, for the rest of the process.

    What is made for one large model after the other would stay beside it. A search of 16 checkpoints of 127 MB peaked
    at 1.17 GB with that, and at 0.84 GB without.
    """
    _set(largest=1 << 20, kept=128 << 10)


def _set(largest: int, kept: int) -> None:
    """Set of how many bytes a block in the heap may be, and how many free ones stay at the heap's end."""
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, largest)
        library.mallopt(TRIM_THRESHOLD, kept)
