"""Loggers of the user's choice: where they write to, and how a search that goes on finds what it has logged before.

Lightning's CSV log has a way of its own, `callbacks/metrics_file.py`.
"""

import json
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import Namespace

from swarm_lightning.files import write_whole

# In a logger's settings, this text stands for the run folder.
RUN_FOLDER = "<run>"
LOGGERS = "loggers.json"
# By the logger's class: the argument that takes what its `version` was.
GOES_ON_BY = {"TensorBoardLogger": "version", "WandbLogger": "version", "MLFlowLogger": "run_id"}


class RememberLoggers(L.Callback):
    """Writes down in the run folder under which versions its loggers log, where they can go on."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it down: by now every logger has begun."""
        if not trainer.is_global_zero:
            return
        found = [[type(logger).__name__, logger.version] for logger in trainer.loggers]
        if any(name in GOES_ON_BY for name, _ in found):
            write_whole(Path(trainer.default_root_dir) / LOGGERS, json.dumps(found) + "\n")


def placed(value: Any, folder: str) -> Any:
    """Replace the placeholder of the run folder wherever it stands in the settings of loggers.

    Args:
        value: Settings, changed in place.
        folder: The run folder.
    """
    if isinstance(value, str):
        return value.replace(RUN_FOLDER, folder)
    if isinstance(value, list):
        return [placed(entry, folder) for entry in value]
    if isinstance(value, Namespace):
        for name, entry in vars(value).items():
            setattr(value, name, placed(entry, folder))
    return value


def names_a_logger(arguments: Any) -> bool:
    """Tell whether a command line asks for a logger itself, and not only by the config of a search.

    Args:
        arguments: Words of the command line; anything else names none.

    >>> names_a_logger(["test", "runs/version_0", "--trainer.logger=CSVLogger"])
    True
    """
    words = arguments if isinstance(arguments, list | tuple) else ()
    return any(str(word).startswith("--trainer.logger") for word in words)


def go_on(settings: Any, folder: str) -> None:
    """Let loggers go on where those of the run in a folder have ended, unless the user says where they write to.

    Args:
        settings: Of the trainer's loggers, changed in place.
        folder: The run folder.
    """
    path = Path(folder) / LOGGERS
    if not path.is_file():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    now = settings if isinstance(settings, list) else [settings]
    for entry, (name, version) in zip(now, before, strict=False):
        if not isinstance(entry, Namespace) or entry.class_path.rpartition(".")[2] != name:
            continue
        given = entry.get("init_args")
        argument = GOES_ON_BY.get(name)
        chosen = ("version", "id", "run_id")  # where any of them is given, the user has chosen
        if argument is not None and given is not None and all(given.get(one) is None for one in chosen):
            given[argument] = version
