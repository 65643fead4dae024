"""Looks at the data of a command in the first second, before torch, Lightning and the models take theirs to load.

It reads the file that the command line names and refuses, in the same words, what the search would refuse later. A
dataset of the hub, several tasks, a large file and several processes it leaves to the search.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from swarm_lightning.data.readers import read_pools
from swarm_lightning.objectives.fitting import fitting_objective, refuse_misfit
from swarm_lightning.paths import locate

SUFFIXES = {".json", ".jsonl", ".ndjson", ".csv", ".tsv"}
LARGEST = 64 * 2**20  # bytes of a file that is worth reading twice
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")  # set: the ranks find out together
READS_DATA = {"fit", "compare", "adapt", "plan"}
# Settings of the data by the argument of `read_pools` that they are; the others choose among what it reads.
ARGUMENTS = {
    "dataset": "source", "test_dataset": "test_source", "subset": "subset", "validation_split": "validation_split",
    "test_split": "test_split", "columns": "columns",
}  # fmt: skip
OTHERS = {"validation_size", "test_size", "seed", "prompts", "prompts_task"}


def look_at_data(words: Sequence[str]) -> None:
    """Refuse data that can't be read, or that the objective can't ask.

    Args:
        words: Of the command line, without the program's name.

    Raises:
        InputError: If the data are of no use to the command.
    """
    if not words or words[0] not in READS_DATA or any(name in os.environ for name in RANKS):
        return
    settings = _settings(words[1:])
    if settings is None:
        return
    data, objective = settings
    if not set(data) <= {*ARGUMENTS, *OTHERS} or not _is_glance(data.get("dataset")):
        return
    if data.get("test_dataset") is not None and not _is_glance(data["test_dataset"]):
        return
    _, pools, _, _ = read_pools(**{ARGUMENTS[name]: value for name, value in data.items() if name in ARGUMENTS})
    examples, where = [example for pool in pools for example in pool], repr(Path(data["dataset"]).name)
    if objective is None:
        fitting_objective(examples, where)
    else:
        refuse_misfit(objective, examples, where)


def _settings(words: Sequence[str]) -> tuple[dict[str, Any], str | None] | None:
    """Gather the data settings and the objective's class from configs and flags; None where that takes a parser."""
    data: dict[str, Any] = {}
    objective: str | None = None
    waiting = list(words)
    while waiting:
        flag, joined, value = waiting.pop(0).partition("=")
        if flag.startswith("--print_config") or flag in ("-h", "--help"):
            return None
        if not joined and (flag == "--config" or flag.startswith(("--data.", "--model.objective"))):
            if not waiting:
                return None
            value = waiting.pop(0)
        try:
            if flag == "--config":
                config = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
                data |= config.get("data") or {}
                objective = _class_in((config.get("model") or {}).get("objective", {}), objective)
            elif flag in ("--data", "--model"):
                return None
            elif flag.startswith("--data."):
                data[flag.removeprefix("--data.")] = yaml.safe_load(value)
            elif flag == "--model.objective":
                objective = _class_in(yaml.safe_load(value), objective)
        except (OSError, ValueError, yaml.YAMLError, AttributeError, TypeError):
            return None  # what is wrong with it is the parser's to say
    return data, objective


def _class_in(setting: Any, before: str | None) -> str | None:
    """Return the class that a setting names, in one word where it is one of ours; the one before if it names none."""
    path = setting.get("class_path", before) if isinstance(setting, dict) else setting
    return path if path is None else str(path).removeprefix("swarm_lightning.objectives.")


def _is_glance(source: object) -> bool:
    """Tell whether a dataset is a file of text that is read in no time, or should be one."""
    if not isinstance(source, str) or Path(source).suffix.lower() not in SUFFIXES or source.startswith("lm_eval:"):
        return False
    path = Path(locate(source)).expanduser()
    return not path.exists() or (path.is_file() and path.stat().st_size <= LARGEST)
