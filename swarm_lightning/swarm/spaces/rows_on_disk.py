"""Positions that are numbers of rows on disk, so that a swarm can be larger than memory.

Every particle has up to five rows of 4 D bytes on disk while it moves: position and velocity, each old and new, and its
personal best if that is a different row. With the global best and worst this makes at most (5 N + 2) rows. A move only
writes new rows, and old ones are deleted after a later checkpoint has been written. So whenever a run is killed, the
rows of its last checkpoint are intact, and resuming is exact. The arithmetic is in `stored_moves.py`, the
files in `rows.py`.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from swarm_lightning.swarm.population import FirstVelocity, Start
from swarm_lightning.swarm.rows import BYTES, RowStore, StoredRow
from swarm_lightning.swarm.rules import Coefficients
from swarm_lightning.swarm.settings import Kernel
from swarm_lightning.swarm.space import Circumstances, Material, sketch_of
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.swarm.stored_moves import Survey, first_velocity_rows, grow_rows, move_rows, survey_rows
from swarm_lightning.vectors import Vector, windows

STATE = "state"  # the rows' folder in the run folder
GIGA = 1e9
HELD = ("positions", "velocities", "personal_bests", "global_best", "global_worst")


class RowSpace:
    """Numbers of rows [N, 1] int64; implements `Space`.

    Attributes:
        store: Storage of the rows.
        saved: The rows that the last checkpoint refers to.
    """

    groups: Sequence[int] | None = None
    differences_from: str | None = None
    writes = True
    dtype: ClassVar[torch.dtype] = torch.int64
    uses_base: ClassVar[bool] = False

    def __init__(self, material: Material) -> None:
        """Set the folder; nothing is read or created yet.

        Args:
            material: The experts, and the folder of the rows.
        """
        assert material.folder is not None
        self.material = material
        self.store = RowStore(material.folder, material.size)
        self.saved: frozenset[int] = frozenset()
        # What the last reading of positions has told, and of which: a move makes it by the way.
        self._survey: tuple[list[int], Survey] | None = None

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Reject conditions that need the swarm in memory, or rows of earlier checkpoints.

        Raises:
            ValueError: If there are several ranks, or such a kernel, start or checkpoints are requested.
        """
        if circumstances.ranks > 1:
            raise ValueError(
                f"Expected one rank with storage: disk, but there are {circumstances.ranks}: each would move a swarm "
                "of its own on the disk. Set trainer.devices and trainer.num_nodes to 1, or storage to memory."
            )
        if circumstances.kernel == "compiled":
            raise ValueError(
                "Expected kernel to be auto or plain with storage: disk, where the disk limits the move, but got "
                "'compiled'. Leave it out."
            )
        if circumstances.start.kind != "experts":
            raise ValueError(
                f"Expected model.start.kind to be experts with storage: disk, but got {circumstances.start.kind!r}. "
                "Leave it out, or set storage to memory."
            )
        if circumstances.keeps_all:
            raise ValueError(
                "Expected checkpoint.keep_all to be off with storage: disk, but it is on: the disk holds the rows of "
                "the last checkpoint only. Leave it out, or set storage to memory."
            )

    @classmethod
    def form(cls, experts: str) -> str:
        """Return the experts' form: candidates are weights like theirs."""
        return experts

    def empty(self, particles: int) -> Tensor:
        """Allocate the row numbers of the positions: rows of zeros."""
        return torch.zeros(particles, 1, dtype=self.dtype)

    def first_positions(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        """Write the experts into rows, followed by their children; see `Space`.

        Raises:
            ValueError: If the disk is too small for the search, the folder is in use, or an expert's weights are not
                finite; no files are left behind then.
        """
        folder, size = self.store.folder, self.store.size
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(
                f"Expected a new folder for the rows of a new search, but {str(folder)!r} holds something. Remove it "
                "if no run needs it any more, set another model.state_folder or trainer.default_root_dir, or resume "
                "with --ckpt_path."
            )
        needed = (5 * particles + 2) * size * BYTES
        existing = next(parent for parent in folder.absolute().parents if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise ValueError(
                f"Expected {needed / GIGA:.1f} GB of free space in {str(existing)!r} for {particles} particles of "
                f"{size:,} weights (5 rows of 4 bytes a weight for each), but there are {free / GIGA:.1f} GB. Set "
                "model.state_folder to a folder on a larger disk, or use fewer particles."
            )
        experts = self.material.experts
        try:
            numbers = self.store.create(len(experts))
            for number, expert in zip(numbers, experts, strict=True):
                for first, end in windows(0, size):
                    self.store.write(number, first, expert[first:end].contiguous())
            positions = grow_rows(self.store, numbers, particles, span, generator)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.writes = False
        return positions

    def first_velocities(
        self, positions: Tensor, utilities: Tensor, mode: FirstVelocity, generator: torch.Generator
    ) -> Tensor:
        """Write the first velocity of every particle into a row."""
        return first_velocity_rows(self.store, positions, utilities, mode, generator)

    def settle(self, kernel: Kernel, positions: Tensor) -> Kernel:
        """Choose the plain kernel: the disk limits the move."""
        if kernel == "compiled":
            raise ValueError("Expected kernel to be auto or plain with rows on the disk, but got 'compiled'.")
        return "plain"

    def move(
        self, swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float, kernel: Kernel = "plain"
    ) -> None:
        """Write new rows, and point positions and velocities to them."""
        survey = move_rows(self.store, swarm, draws, coefficients, step_length)
        self._survey = (swarm.positions.flatten().tolist(), survey)

    def finite(self, positions: Tensor) -> Tensor:
        """Tell which positions are finite [N] bool."""
        return self._surveyed(positions).finite

    def diversity(self, positions: Tensor) -> float:
        """Measure the spread of the particles."""
        return self._surveyed(positions).diversity

    def sketch(self, positions: Tensor) -> Tensor:
        """Fold positions into a few numbers."""
        return sketch_of(self.vectors(positions))

    def vectors(self, held: Tensor) -> list[StoredRow]:
        """Return the rows of the numbers [N, 1]."""
        return self.store.rows(held)

    def vector(self, held: Tensor) -> StoredRow:
        """Return the row of a number."""
        return self.store.row(int(held))

    def expert(self, place: int) -> Vector:
        """Return the weights of an expert, from its own files."""
        return self.material.experts[place]

    def coefficients(self, held: Tensor) -> Tensor:
        """Return nothing: coefficients are not known for weights."""
        return torch.empty(0, 0)

    def record(self, held: Mapping[str, Tensor]) -> dict[str, Any]:
        """Wait until the rows are on disk, and return their places.

        Raises:
            StorageError: If the disk can't be written to.
        """
        self.store.sync()
        self.saved = _numbers(held)
        # Inside the run folder the rows are found wherever the folder is moved to.
        own = self.material.run is not None and self.store.folder == self.material.run / STATE
        return {"kind": "disk", "folder": None if own else str(self.store.folder), "size": self.store.size}

    def resume(self, record: Mapping[str, Any], held: Mapping[str, Tensor]) -> None:
        """Find the rows that a checkpoint refers to.

        Raises:
            ValueError: If some are gone.
        """
        folder = rows_folder(self.material.run or Path(), None) if record["folder"] is None else Path(record["folder"])
        self.store, self.writes = RowStore(folder, int(record["size"])), False
        self.saved = _numbers(held)
        missing = self.store.missing(self.saved)
        if missing:
            raise ValueError(
                f"Expected the {len(self.saved)} rows of the checkpoint in {str(folder)!r}, but {len(missing)} are "
                f"missing or not whole, first {self.store.path(missing[0]).name!r}. A search on the disk can only be "
                "resumed from its last checkpoint, with its state folder beside it."
            )

    def tidy(self, held: Mapping[str, Tensor]) -> None:
        """Remove rows that neither the swarm nor its last checkpoint uses."""
        self.store.keep(self.saved | _numbers(held))

    def _surveyed(self, positions: Tensor) -> Survey:
        numbers = positions.flatten().tolist()
        if self._survey is None or self._survey[0] != numbers:
            self._survey = (numbers, survey_rows(self.store, positions))
        return self._survey[1]


def rows_folder(run: Path, state_folder: str | None) -> Path:
    """Return the folder of the rows of a run.

    Args:
        run: The run folder.
        state_folder: The setting `model.state_folder`; None: inside the run folder.
    """
    if state_folder is None:
        return run / STATE
    return Path(state_folder).expanduser().absolute() / f"{run.absolute().parent.name}_{run.name}"


def _numbers(held: Mapping[str, Tensor]) -> frozenset[int]:
    tensors = (held[name] for name in HELD if name in held)
    return frozenset(int(number) for tensor in tensors for number in tensor.flatten().tolist())
