"""Where a search keeps its swarm: in memory, or in rows on the disk, of which memory and checkpoints hold the numbers.

On the disk every particle has up to five rows of 4 D bytes while it moves: position and velocity, each old and new, and
its personal best where that is another row. With the global best and worst that is (5 N + 2) rows at most. A move only
writes new rows, and the old ones go when a later checkpoint has been written. So wherever a run is killed, the rows of
its last checkpoint are whole, and resuming is exact.
"""

import ctypes
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.files import storage_errors
from swarm_lightning.swarm.rows import BYTES, RowStore
from swarm_lightning.swarm.stored_moves import grow_rows
from swarm_lightning.vectors import windows

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm

Storage = Literal["memory", "disk"]
STATE = "state"  # the rows' folder in the run folder
GIGA = 1e9
MMAP_THRESHOLD = -3  # the number of this option in malloc.h
LARGE_BLOCK = 1 << 20  # bytes


class RunRows(RowStore):
    """The rows of one run; says what to do where the disk fails.

    Attributes:
        saved: The rows that the last checkpoint names.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Name the folder; see `RowStore`."""
        super().__init__(folder, size)
        self.saved: frozenset[int] = frozenset()

    def create(self, count: int) -> list[int]:
        """Make new rows; see `RowStore.create`.

        Raises:
            StorageError: If the disk has no room for them.
        """
        with storage_errors(self.folder):
            return super().create(count)

    def write(self, number: int, start: int, weights: Tensor) -> None:
        """Write some weights of a new row; see `RowStore.write`.

        Raises:
            StorageError: If the disk can't be written.
        """
        with storage_errors(self.folder):
            super().write(number, start, weights)

    def sync(self) -> None:
        """Wait until everything written is on the disk; see `RowStore.sync`.

        Raises:
            StorageError: If the disk can't be written.
        """
        with storage_errors(self.folder):
            super().sync()


def return_freed_memory() -> None:
    """Have the C library give large blocks that are freed back to the system at once, for the rest of the process.

    glibc raises the size from which it does so with every such block, up to 32 MiB: what is made for one particle after
    the other then stays in the process. A search of 16 checkpoints of 127 MB peaked at 1.17 GB with that, and at 0.84
    GB without. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE_BLOCK)


def check_storage(module: "ModelSwarm") -> None:
    """Refuse what a swarm on the disk can't do.

    Raises:
        InputError: If there are several ranks, or a kernel or checkpoints are wanted that need the swarm in memory.
    """
    if module.storage != "disk":
        return
    error = None
    if module.ranks.count > 1:
        error = InputError(
            f"Expected one rank with storage: disk, but there are {module.ranks.count}: each would move a swarm of its "
            "own on the disk. Set trainer.devices and trainer.num_nodes to 1, or storage to memory."
        )
    elif module.optimizer_factory([torch.zeros(module.particles, 1)]).defaults.get("kernel") == "compiled":
        error = InputError(
            "Expected kernel to be auto or plain with storage: disk, where the disk limits the move, but got "
            "'compiled'. Leave it out."
        )
    elif module.start.kind != "experts":
        error = InputError(
            f"Expected model.start.kind to be experts with storage: disk, but got {module.start.kind!r}. Leave it out, "
            "or set storage to memory."
        )
    elif any(callback.save_top_k not in (0, 1) for callback in module.trainer.checkpoint_callbacks):  # type: ignore[attr-defined]
        error = InputError(
            "Expected checkpoint.keep_all to be off with storage: disk, but it is on: the disk holds the rows of the "
            "last checkpoint only. Leave it out, or set storage to memory."
        )
    if error is not None:
        error.shared = True
        raise error


def new_rows(module: "ModelSwarm", generator: torch.Generator) -> Tensor:
    """Write the first positions of a new search into rows: the experts, and their children behind them.

    Args:
        module: The search; it gets the rows' store.
        generator: Source of the children.

    Returns:
        Rows of the positions [N, 1].

    Raises:
        InputError: If the disk has no room for the search, the folder is in use, or an expert's weights are not finite;
            nothing is left behind then.
    """
    pool, size = module.pool, module.pool.layout.size
    folder = _new_folder(module)
    needed = (5 * module.particles + 2) * size * BYTES
    existing = next(parent for parent in folder.absolute().parents if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InputError(
            f"Expected {needed / GIGA:.1f} GB of free space in {str(existing)!r} for {module.particles} particles of "
            f"{size:,} weights (5 rows of 4 bytes a weight for each), but there are {free / GIGA:.1f} GB. Set "
            "model.state_folder to a folder on a larger disk, or use fewer particles."
        )
    rows = RunRows(folder, size)
    try:
        numbers = rows.create(len(pool.names))
        for index, number in enumerate(numbers):
            vector = pool.vector(index)
            for start, stop in windows(0, size):
                rows.write(number, start, vector[start:stop].contiguous())
        positions = grow_rows(rows, numbers, module.particles, module.child_span, generator)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    module.stored = rows
    return positions


def rows_folder(run: Path, state_folder: str | None) -> Path:
    """Return where the rows of a run lie.

    Args:
        run: Its folder.
        state_folder: The setting of the search.
    """
    if state_folder is None:
        return run / STATE
    return Path(state_folder).expanduser().absolute() / f"{run.absolute().parent.name}_{run.name}"


def _new_folder(module: "ModelSwarm") -> Path:
    folder = rows_folder(Path(module.trainer.default_root_dir), module.state_folder)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"Expected a new folder for the rows of a new search, but {str(folder)!r} holds something. Remove it if no "
            "run needs it any more, set another model.state_folder or trainer.default_root_dir, or resume with "
            "--ckpt_path."
        )
    return folder


def storage_record(module: "ModelSwarm") -> dict[str, Any]:
    """Return what a checkpoint says about where the swarm lies, and see to it that what it names is on the disk.

    Raises:
        InputError: If the disk can't be written.
    """
    rows = module.stored
    if rows is None:
        return {"kind": "memory"}
    rows.sync()
    rows.saved = frozenset(_held(module))
    # Inside the run folder the rows are found wherever the folder is moved to.
    folder = None if module.state_folder is None else str(rows.folder)
    return {"kind": "disk", "folder": folder, "size": rows.size}


def take_storage(module: "ModelSwarm", record: dict[str, Any], checkpoint: dict[str, Any]) -> None:
    """Find the rows that a checkpoint names.

    Args:
        module: The search that goes on, or is looked at.
        record: What `storage_record` returned.
        checkpoint: The content of the checkpoint.

    Raises:
        InputError: If a search is to go on with another storage, or rows are gone.
    """
    kind = record.get("kind", "memory")
    if module.trainer.state.fn == "fit" and kind != module.storage:
        raise InputError(
            f"Expected to resume with the storage of the checkpoint, {kind}, but model.storage is {module.storage}. "
            f"Set it to {kind}."
        )
    if kind == "memory":
        return
    folder = Path(record["folder"]) if record["folder"] else Path(module.trainer.default_root_dir) / STATE
    rows = RunRows(folder, int(record["size"]))
    memory: dict[str, Tensor] = next(iter(checkpoint["optimizer_states"][0]["state"].values()), {})
    rows.saved = frozenset(_numbers(checkpoint["state_dict"]["positions"], memory))
    missing = rows.missing(rows.saved)
    if missing:
        raise InputError(
            f"Expected the {len(rows.saved)} rows of the checkpoint in {str(folder)!r}, but {len(missing)} are missing "
            f"or not whole, first {rows.path(missing[0]).name!r}. A search on the disk can only be resumed from its "
            "last checkpoint, with its state folder beside it."
        )
    module.stored = rows


def sweep(module: "ModelSwarm") -> None:
    """Remove rows that neither the swarm nor its last checkpoint holds."""
    if module.stored is not None:
        module.stored.keep(module.stored.saved | _held(module))


def _held(module: "ModelSwarm") -> set[int]:
    optimizer = module.particle_swarm
    return _numbers(optimizer.positions, optimizer.swarm.memory() if optimizer.begun else {})


def _numbers(positions: Tensor, memory: dict[str, Tensor]) -> set[int]:
    rows = ("velocities", "personal_bests", "global_best", "global_worst")
    named = (memory[name] for name in rows if name in memory)
    return {int(number) for tensor in (positions, *named) for number in tensor.flatten().tolist()}
