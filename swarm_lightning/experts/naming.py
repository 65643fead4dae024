"""Gives every expert a name of its own: its folder's, and parent folders before it where two are called the same."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def unique_names(names: Sequence[str], sources: Sequence[str]) -> tuple[str, ...]:
    """Put as many parent folders before equal names as it takes to tell them apart.

    Args:
        names: The experts' names.
        sources: The folder or hub id of each.

    >>> unique_names(["math", "math", "code"], ["a/math", "b/math", "b/code"])
    ('a/math', 'b/math', 'code')
    """
    unique, depth = list(names), 2
    while len(set(unique)) < len(unique):
        counts = Counter(unique)
        for index, source in enumerate(sources):
            if counts[unique[index]] > 1:
                unique[index] = "/".join(Path(source).expanduser().resolve().parts[-depth:])
        depth += 1
    return tuple(unique)
