"""Writes a checkpoint to its place whole or not at all.

Lightning 2.6.6 writes it to the folder for temporary files and moves it from there: a copy that a kill can cut short
where that is another disk, and nothing is forced to the disk. Loading stays Lightning's.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from swarm_lightning.files import storage_errors, whole_file


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
