"""Gives every expert a name of its own: its folder's, and parent folders before it where two are called the same.

A link names what it leads to: `math -> store/9f3a` is called math.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

HUB_CACHE, SNAPSHOTS = "models--", "snapshots"


def name_of(folder: Path) -> str:
    """Return what a folder is called: by its own name, or by that of the hub repository which it is a snapshot of.

    >>> name_of(Path("experts/math/")), name_of(Path("experts/code/../math/."))
    ('math', 'math')
    >>> name_of(Path("/cache/hub/models--owner--math/snapshots/0123abcd"))
    'owner/math'
    """
    place = _place_of(folder)
    repository = place.parent.parent.name
    if place.parent.name == SNAPSHOTS and repository.startswith(HUB_CACHE):
        return repository.removeprefix(HUB_CACHE).replace("--", "/", 1)
    return place.name


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
                unique[index] = "/".join(_place_of(Path(source)).parts[-depth:])
        depth += 1
    return tuple(unique)


def _place_of(path: Path) -> Path:
    """Return the absolute path with the names of links in it, without `.` and `..`."""
    given = path.expanduser()
    place = Path(os.path.abspath(given))
    # `link/..` is the folder above what the link leads to, which the text of the path alone does not say.
    return place if ".." not in given.parts or not given.exists() or place.samefile(given) else given.resolve()
