"""Reads `run.json`, and tells a run that lives from one that has gone silent."""

import fcntl
import json
from pathlib import Path
from typing import Any

from swarm_lightning.errors import InputError
from swarm_lightning.runs.run_folder import LOCK, RECORD
from swarm_lightning.runs.run_lock import held_here

GOING_ON = ("running", "testing")


def read_record(folder: Path) -> dict[str, Any]:
    """Return what is written down of a run.

    Args:
        folder: The run folder.

    Returns:
        Plain values by name. `state` is running, testing, ended, interrupted, failed, or silent: that of a run that was
        killed. Empty for a run of an earlier version, which has no such file.

    Raises:
        InputError: If the file is something else.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"Expected JSON in {str(path)!r}, but it can't be read: {error}. Remove it.") from error
    if not isinstance(record, dict):
        raise InputError(f"Expected a JSON object in {str(path)!r}, but it is a list or a value. Remove it.")
    if record.get("state") in GOING_ON and not is_held(folder):
        record["state"] = "silent"
    return record


def is_held(folder: Path) -> bool:
    """Tell whether a process on this machine writes into a run folder.

    Args:
        folder: The run folder.
    """
    if held_here(folder):  # opening the file here and closing it again would let go of the lock
        return True
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except OSError:  # it is locked, or the disk knows no locks
        return True
