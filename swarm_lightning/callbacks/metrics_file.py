"""Lightning's CSV log, continued by a resumed search in the same file without gaps or doubles.

`CSVLogger` starts a new version at every resume, and rows that a killed run had logged after its checkpoint end up in
both. Here a checkpoint records the length of the file, and a search resumed from it cuts the file to that length.
"""

import csv
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from swarm_lightning.doors.lightning import OwnCSVLogger, RowWriter
from swarm_lightning.files import storage_errors, whole_file


class ContinuedCSVLogger(OwnCSVLogger):
    """Writes `<folder>/logs/version_0/metrics.csv`, atomically after every iteration."""

    def __init__(self, folder: str) -> None:
        """Choose the place.

        Args:
            folder: The run folder.
        """
        super().__init__(folder, name="logs", version=0)

    def make_writer(self) -> "WholeWriter":
        """Go on with the file, if it is there."""
        return WholeWriter(self.log_dir)


class WholeWriter(RowWriter):
    """Holds all rows of the file, and writes them whole or not at all.

    Attributes:
        rows: What was logged, in order.
    """

    def __init__(self, log_dir: str) -> None:
        """Read the rows that are there.

        Args:
            log_dir: Folder of the file; made if it is not there.
        """
        with storage_errors(Path(log_dir)):
            super().__init__(log_dir)
        self.rows: list[dict[str, Any]] = []
        self._path = Path(self.metrics_file_path)
        self._saved: dict[str, Any] = {}
        if self._path.exists():
            with self._path.open(newline="", encoding="utf-8") as file:
                self.rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]

    def keep(self, count: int) -> None:
        """Go on behind the first rows.

        Args:
            count: How many stay.
        """
        if count > len(self.rows):
            rank_zero_warn(
                f"{self._path} holds {len(self.rows)} rows, but there were {count} when the checkpoint was written: "
                "it continues with a gap. history.csv has the numbers of every iteration."
            )
        self.metrics, self.rows = [], self.rows[:count]
        if self.rows:
            self._write()  # in the place of the file: without it for an instant, a kill would lose it
        else:
            self._path.unlink(missing_ok=True)

    def save(self) -> None:
        """Write all rows, and the settings where they are new."""
        if self.hparams != self._saved:
            with whole_file(Path(self.log_dir) / self.NAME_HPARAMS_FILE) as partial:
                save_hparams_to_yaml(str(partial), self.hparams)
            self._saved = dict(self.hparams)
        if self.metrics:
            self.rows, self.metrics = [*self.rows, *self.metrics], []
            self._write()

    def _write(self) -> None:
        with whole_file(self._path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=sorted({name for row in self.rows for name in row}))
            writer.writeheader()
            writer.writerows(self.rows)


class ContinueMetrics(L.Callback):
    """Records the length of the file in the checkpoint, and cuts it to that length on resume."""

    def __init__(self) -> None:
        self._writer: WholeWriter | None = None
        self._rows = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the file."""
        for logger in trainer.loggers if stage == "fit" else ():
            if isinstance(logger, ContinuedCSVLogger) and isinstance(logger.experiment, WholeWriter):
                self._writer = logger.experiment

    def state_dict(self) -> dict[str, Any]:
        """Return how many rows there are; all of them are written."""
        if self._writer is not None:
            self._writer.save()
            self._rows = len(self._writer.rows)
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._rows = state_dict["rows"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop what the search is about to log again, be it only its result."""
        if self._writer is not None:
            self._writer.keep(self._rows)
