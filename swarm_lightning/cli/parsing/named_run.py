"""What stands for more on the command line: a run folder for its settings, and a bare `--json` for its value.

`swarm test RUN` and `swarm fit --resume RUN` need nothing else.

The folder holds the config that the run was started with and its checkpoint. Settings beside it override it. What is a
relative path in it and is not here is taken from the folder in which the run was started.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.exported_file import GRAPH_FILE, MIXTURE_FILE
from swarm_lightning.runs.run_folder import CHECKPOINTS, CONFIG, VERSION, run_folder_of
from swarm_lightning.runs.run_record import read_record

TAKE_A_RUN = ("validate", "test", "predict", "export")
RESUME = "--resume"
PATHS = ("model.base", "model.experts", "data.dataset", "data.test_dataset")  # settings that may be relative paths
TO_RESUME = f"fit {RESUME}"
JSON = "--json"


def with_run(words: Sequence[str]) -> list[str]:
    """Write out what a run folder on the command line stands for: its config and its checkpoint.

    Args:
        words: Of the command line, without the program's name.

    Returns:
        The words that a parser takes.

    Raises:
        InputError: If there is no such run.

    >>> with_run(["fit", "--config", "search.yaml"])
    ['fit', '--config', 'search.yaml']
    """
    words = list(words)
    if words[:1] == ["fit"]:
        for place, word in enumerate(words):
            if word == RESUME and place + 1 < len(words):
                return ["fit", *_run(words[place + 1], TO_RESUME), *words[1:place], *words[place + 2 :]]
            if word == RESUME:
                raise InputError("Expected a run folder after --resume, but got none. `swarm runs` lists the runs.")
            if word.startswith(f"{RESUME}="):
                source = word.removeprefix(f"{RESUME}=")
                return ["fit", *_run(source, TO_RESUME), *words[1:place], *words[place + 1 :]]
    if names_a_system(words):
        return words
    if words and words[0] in TAKE_A_RUN and len(words) > 1 and not words[1].startswith("-"):
        return [words[0], *_run(words[1], words[0]), *words[2:]]
    return words


def names_a_system(words: Sequence[str]) -> bool:
    """Tell whether a command is `swarm predict` with the folder of an exported system of models.

    Args:
        words: Of the command line, without the program's name.
    """
    return words[:1] == ["predict"] and len(words) > 1 and (Path(words[1]).expanduser() / GRAPH_FILE).is_file()


def with_json(words: Sequence[str]) -> list[str]:
    """Let `swarm plan --json` stand without a value.

    >>> with_json(["plan", "--json", "--ranks", "2"])
    ['plan', '--json=true', '--ranks', '2']
    """
    if words[:1] != ["plan"]:
        return list(words)
    bare = [
        place
        for place, word in enumerate(words)
        if word == JSON and (place + 1 == len(words) or words[place + 1].lower() not in ("true", "false"))
    ]
    return [f"{JSON}=true" if place in bare else word for place, word in enumerate(words)]


def _run(source: str, command: str) -> list[str]:
    path = Path(source).expanduser()
    folder = run_folder_of(path) if path.is_file() else path
    if command == TO_RESUME and (folder / MIXTURE_FILE).is_file():
        raise InputError(
            f"Expected a run folder for 'swarm {command}', but {source!r} holds an exported mixture, from which no "
            "search can be resumed. Name the run folder that it was exported from."
        )
    if (folder / CONFIG).is_file():
        return ["--config", str(folder / CONFIG), *_paths(folder), "--ckpt_path", str(path)]
    runs = sorted(entry.name for entry in path.iterdir() if VERSION.fullmatch(entry.name)) if path.is_dir() else []
    if runs:
        what = f"it holds the runs {', '.join(runs[-5:])}. Name one of them."
    elif path.is_dir():
        what = f"it has no {CONFIG}. `swarm runs` lists the runs."
    else:
        what = "there is none. `swarm runs` lists the runs."
    raise InputError(
        f"Expected a run folder (with {CONFIG} and {CHECKPOINTS}/) or its checkpoint for 'swarm {command}', but at "
        f"{source!r} {what}"
    )


def _paths(folder: Path) -> list[str]:
    """Return flags for relative paths in a run's config that are not here, but where the run was started."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []  # what is wrong with it is the parser's to say
    started_in = read_record(folder).get("started_in")
    if not isinstance(started_in, str) or not isinstance(config, dict):
        return []
    flags = []
    for key in PATHS:
        section, _, name = key.partition(".")
        given = (config.get(section) or {}).get(name)
        found = _found_there(given, Path(started_in))
        if found != given:
            flags += [f"--{key}", found if isinstance(found, str) else json.dumps(found)]
    return flags


def _found_there(value: Any, place: Path) -> Any:
    if isinstance(value, list):
        return [_found_there(entry, place) for entry in value]
    if isinstance(value, dict):
        return {name: _found_there(entry, place) for name, entry in value.items()}
    if not isinstance(value, str) or Path(value).expanduser().exists() or not (place / value).exists():
        return value
    return str(place / value)
