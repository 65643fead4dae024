"""Arithmetic with counts of which a part may be unknown: then the whole is unknown too."""


def plus(*counts: int | None) -> int | None:
    """Return the sum; None where one of them is unknown.

    >>> plus(2, 3), plus(2, None)
    (5, None)
    """
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def less(count: int | None, other: int | None) -> int | None:
    """Return the difference; None where one of them is unknown.

    >>> less(5, 3), less(None, 3)
    (2, None)
    """
    return None if count is None or other is None else count - other
