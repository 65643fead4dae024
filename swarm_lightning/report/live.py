"""Renews the page of a search, a comparison or a sweep while it goes on, so that an open tab shows how it stands.

It never fails a search, and takes a thirtieth of its time at most: what it costs is measured, and it waits accordingly.
"""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from swarm_lightning.errors import InputError
from swarm_lightning.report.page import write_page
from swarm_lightning.report.run import open_run
from swarm_lightning.report.vega import HINT, installed
from swarm_lightning.runs.run_folder import PAGE

SHARE = 30  # times what the last page took to be written, before the next one
EVERY = 10.0  # seconds between two pages at least
FIRST = 30.0  # seconds of a search before its first page: short ones have one when they end


class Renewal:
    """Renews a page now and then."""

    def __init__(self, every_seconds: float = EVERY) -> None:
        """Wait for something to show.

        Args:
            every_seconds: Minimum number of seconds between two updates of the page, > 0.
        """
        self._every, self._due = every_seconds, time.monotonic() + FIRST

    @property
    def due(self) -> bool:
        """Whether the time has come."""
        return time.monotonic() >= self._due

    def renew(self, folder: Path, going_on: bool = False) -> None:
        """Write the page of a run into its folder, and wait according to what that took.

        Args:
            folder: Of a search, a comparison or a sweep.
            going_on: See `renew`.
        """
        begun = time.monotonic()
        renew(folder, hints=False, going_on=going_on)
        took = time.monotonic() - begun
        self._due = time.monotonic() + max(self._every, SHARE * took)


class LivePage(L.Callback):
    """Writes `report.html` into the run folder."""

    def __init__(self, every_seconds: float | None = EVERY) -> None:
        """Set how often.

        Args:
            every_seconds: Minimum number of seconds between two updates of the page, > 0; null: no page.

        Raises:
            InputError: If it is out of range.
        """
        if every_seconds is not None and not every_seconds > 0:
            raise InputError(
                f"Expected page.every_seconds to be above 0, or null for no page, but got {every_seconds}."
            )
        self.every_seconds = every_seconds
        self._renewal: Renewal | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait for something to show."""
        if self.every_seconds is not None and trainer.is_global_zero:
            self._renewal = Renewal(self.every_seconds)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Renew the page if it is due."""
        if self._renewal is not None and self._renewal.due:
            self._renewal.renew(Path(trainer.default_root_dir))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the page of a search that has ended."""
        self._renew(trainer, hints=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Let an open page know that the search has been stopped, where there is one."""
        if (Path(trainer.default_root_dir) / PAGE).is_file():
            self._renew(trainer, hints=False)

    def _renew(self, trainer: L.Trainer, hints: bool) -> None:
        if self.every_seconds is None or not trainer.is_global_zero:
            return
        renew(Path(trainer.default_root_dir), hints)


def renew(folder: Path, hints: bool = True, going_on: bool = False) -> None:
    """Write the page of a run into its folder, or say in a line why there is none.

    Args:
        folder: Of a search, a comparison or a sweep.
        hints: Whether to say what is to be installed, where that is why.
        going_on: Whether it is of several searches that go on; of a single one its files tell.
    """
    if not installed():
        if hints:
            rank_zero_info(f"No report page is written. {HINT}.")
        return
    try:
        write_page([open_run(folder)], folder / PAGE, going_on)
    except Exception as error:  # a page is never worth a search
        first = next(iter(str(error).splitlines()), type(error).__name__)
        rank_zero_warn(f"The page of {folder} could not be written: {first}")
        return
    if hints:
        rank_zero_info(f"Page: {folder / PAGE}")
