"""Turns the names of the packaged demo world into paths, and says where files that outlive a run are kept.

`demo:base`, `demo:experts`, `demo:models`, `demo:tasks/<name>.json` and `demo:harness/<name>.yaml` name files that ship
inside the package; every other path or hub id passes through unchanged.
"""

import os
from pathlib import Path

from swarm_lightning.errors import InputError

DEMO_PREFIX = "demo:"
DEMO_FOLDER = Path(__file__).parent / "demo" / "world"


def locate(source: str) -> str:
    """Return the path that a source names.

    Args:
        source: A path, a hub id, or a name inside the demo world such as `demo:base`.

    Returns:
        The path of the packaged file or folder for a `demo:` name, and the source itself for anything else.

    Raises:
        InputError: If the demo world has nothing of that name.

    >>> locate("my/experts")
    'my/experts'
    """
    if not source.startswith(DEMO_PREFIX):
        return source
    name = source.removeprefix(DEMO_PREFIX)
    path = (DEMO_FOLDER / name).resolve()
    if not path.is_relative_to(DEMO_FOLDER.resolve()) or not path.exists():
        raise InputError(
            f"Expected a part of the demo world ({', '.join(_parts())}), but got {source!r}, which is not among them."
        )
    return str(path)


def cache_folder() -> Path:
    """Return the folder for what all runs of a user share: below XDG_CACHE_HOME, or `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if Path(root).is_absolute() else Path.home() / ".cache") / "swarm-lightning"


def _parts() -> list[str]:
    tasks = sorted(path.name for path in (DEMO_FOLDER / "tasks").glob("*.json"))
    harness = sorted(path.name for path in (DEMO_FOLDER / "harness").glob("*.yaml"))
    names = [*(f"tasks/{name}" for name in tasks), *(f"harness/{name}" for name in harness)]
    return ["demo:base", "demo:experts", "demo:checkpoints", "demo:models", *(f"demo:{name}" for name in names)]
