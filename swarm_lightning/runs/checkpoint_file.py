"""Writes a checkpoint to its place whole or not at all, and looks into one before anything is made of it.

Whether it belongs to the search that wants to go on is judged in `search/settings.py`. Lightning 2.6.6 writes it to the
folder for temporary files and moves it from there: a copy that a kill can cut short where that is another disk, and
nothing is forced to the disk. Loading stays Lightning's.
"""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from swarm_lightning.errors import InputError
from swarm_lightning.files import storage_errors, whole_file
from swarm_lightning.search.state import KEY


class WholeCheckpointIO(TorchCheckpointIO):
    """Replaces a checkpoint at one instant; where that fails the earlier one stays."""

    def __init__(self) -> None:
        self._made: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: Tensors and plain values.
            path: The file. Its folder is made once: one that vanishes in the middle of a run is not made anew.
            storage_options: Must be None.

        Raises:
            StorageError: If it can't be written.
        """
        if storage_options is not None or "://" in str(path):  # elsewhere than in a file system
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        with storage_errors(path):
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
        with whole_file(path) as partial, partial.open("wb") as file:
            sink = _Sink(file)
            torch.save(checkpoint, sink)  # type: ignore[arg-type]
            if sink.error is not None:
                raise sink.error


class _Sink:
    """Takes bytes for a file, and keeps an error for later: torch's writer can abort the process on one."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            if self.error is None:
                self._file.write(content)
        except OSError as error:
            self.error = error
        return len(content)

    def flush(self) -> None:
        """Do nothing: the file is flushed when it is closed."""


NEEDED = ("state_dict", "optimizer_states", "loops", "pytorch-lightning_version", KEY)


def check_checkpoint(path: Path) -> None:
    """Refuse a file that can't be resumed, whatever the search.

    Args:
        path: A zip archive; its tensors are mapped, not read.

    Raises:
        InputError: If it is damaged, holds more than tensors and plain values, or was not written by a swarm.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as cause:
        found = re.search(r"GLOBAL ([\w.]+)", str(cause))  # the rest tells how to load it all the same
        raise InputError(
            f"Expected a checkpoint of tensors and plain values only, but {str(path)!r} holds "
            f"{found[1] if found else 'something else'}, which could run code and is not loaded. Give a checkpoint of "
            "`swarm fit`."
        ) from cause
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError) as cause:
        raise InputError(
            f"Expected a checkpoint, but {str(path)!r} can't be read: {_first_line(cause)} Give another one."
        ) from cause
    lacking = [name for name in NEEDED if not isinstance(content, dict) or name not in content]
    if lacking:
        raise InputError(
            f"Expected a checkpoint of a swarm, but {str(path)!r} lacks {', '.join(map(repr, lacking))}. Give one that "
            "`swarm fit` has written."
        )
    if not _fits_itself(content):
        raise InputError(f"Expected a checkpoint of a swarm, but the parts of {str(path)!r} do not fit each other.")


def _fits_itself(content: dict[str, Any]) -> bool:
    """Tell whether positions and the memory of the swarm are of one size."""
    try:
        positions = content["state_dict"]["positions"]
        (memory,) = content["optimizer_states"][0]["state"].values()
        return bool(
            memory["velocities"].shape == memory["personal_bests"].shape == positions.shape
            and memory["global_best"].shape == memory["global_worst"].shape == positions.shape[1:]
            and memory["utilities"].shape == positions.shape[:1]
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        return False


def _first_line(cause: Exception) -> str:
    lines = str(cause).strip().splitlines()
    return (lines[0] if lines else type(cause).__name__).rstrip(".") + "."
