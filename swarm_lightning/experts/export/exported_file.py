"""What the folders of exported mixtures and systems have in common: a JSON file that says what they are made of.

It is named here, where nothing heavy is loaded, so that a command can tell such a folder at once.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from swarm_lightning import __version__
from swarm_lightning.errors import InputError
from swarm_lightning.experts.sources import local_folder
from swarm_lightning.paths import DEMO_FOLDER, DEMO_PREFIX

MIXTURE_FILE, GRAPH_FILE = "swarm.json", "graph.json"
FORMAT = 1
LIBRARIES = ("torch", "transformers", "peft")
Read = TypeVar("Read")


def write_description(path: Path, folder: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write what a folder is made of, with the versions that made it and how it is loaded.

    Args:
        path: The file.
        folder: Where it will lie.
        kind: What kind of search has found it.
        content: What that kind says beside.
    """
    from importlib.metadata import version

    described = {
        "format": FORMAT,
        "kind": kind,
        **content,
        "versions": {"swarm-lightning": __version__, **{name: version(name) for name in LIBRARIES}},
        "load": f"swarm_lightning.load({folder.name!r})",
    }
    path.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_description(path: Path, what: str, setting: str, read: Callable[[dict[str, Any]], Read]) -> Read:
    """Read what `write_description` has written.

    Args:
        path: The file.
        what: What the folder is, in a word.
        setting: Of the searches that export such folders.
        read: Makes of the content what is wanted.

    Raises:
        InputError: If the file is not there, of another format, or `read` can't read it.
    """
    folder = path.parent
    if not path.is_file():
        raise InputError(
            f"Expected the folder of a {what}, with {path.name}, but there is none in {str(folder)!r}. Name what a "
            f"search with {setting} has exported, `best_expert` in its run folder for example."
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        return read(content)
    except (OSError, KeyError, TypeError, ValueError, IndexError, RecursionError) as cause:
        raise InputError(
            f"Expected a {what} in format {FORMAT} in {str(path)!r}, but it can't be read ({cause!r}). Export it again."
        ) from cause


def lasting(source: str) -> str:
    """Return a source so that it means the same from any folder: a name of the demo world, a whole path, or a hub id.

    >>> lasting("demo:base")
    'demo:base'
    """
    folder = None if source.startswith(DEMO_PREFIX) else local_folder(source, "a model", bare_names=True)
    if folder is None:
        return source
    place = Path(os.path.abspath(folder))
    if place.is_relative_to(DEMO_FOLDER):
        return DEMO_PREFIX + place.relative_to(DEMO_FOLDER).as_posix()
    return str(place)
