"""Lightning's CSV log over several parts of one search."""

import csv
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.callbacks import ContinuedCSVLogger
from swarm_lightning.callbacks.metrics_file import WholeWriter
from swarm_lightning.errors import StorageError
from tests.search.tiny_search import read_rows


def log(folder: Path, *rows: dict[str, Any]) -> ContinuedCSVLogger:
    logger = ContinuedCSVLogger(str(folder))
    for step, row in enumerate(rows):
        logger.log_metrics(row, step)
        logger.save()
    return logger


def test_a_later_part_goes_on_in_the_file_behind_the_rows_that_stay(tmp_path: Path) -> None:
    log(tmp_path, {"best": 0.5}, {"best": 0.6}, {"best": 0.7})
    later = ContinuedCSVLogger(str(tmp_path))
    assert isinstance(later.experiment, WholeWriter)
    later.experiment.keep(2)
    later.log_metrics({"best": 0.75, "lr": 0.1}, 2)
    later.save()
    path = tmp_path / "logs" / "version_0" / "metrics.csv"
    assert read_rows(path) == [
        {"best": "0.5", "lr": "", "step": "0"},
        {"best": "0.6", "lr": "", "step": "1"},
        {"best": "0.75", "lr": "0.1", "step": "2"},
    ]
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.csv"]


def test_a_search_that_starts_anew_starts_the_file_anew(tmp_path: Path) -> None:
    logger = log(tmp_path, {"best": 0.5})
    assert isinstance(logger.experiment, WholeWriter)
    logger.experiment.keep(0)
    assert not (tmp_path / "logs" / "version_0" / "metrics.csv").exists()


def test_a_file_that_has_lost_rows_goes_on_with_a_warning(tmp_path: Path) -> None:
    logger = log(tmp_path, {"best": 0.5})
    assert isinstance(logger.experiment, WholeWriter)
    with pytest.warns(UserWarning, match="holds 1 rows, but there were 3"):
        logger.experiment.keep(3)


def test_it_reads_what_lightnings_own_logger_has_written(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    own = CSVLogger(str(tmp_path), name="logs", version=0)
    own.log_metrics({"best": 0.5, "step_length": 0.1}, 0)
    own.save()
    log(tmp_path, {"best": 0.6})
    with (tmp_path / "logs" / "version_0" / "metrics.csv").open() as file:
        assert [row["best"] for row in csv.DictReader(file)] == ["0.5", "0.6"]


def test_a_folder_that_vanishes_is_told(tmp_path: Path) -> None:
    logger = log(tmp_path, {"best": 0.5})
    path = tmp_path / "logs" / "version_0"
    (path / "metrics.csv").unlink()
    path.rmdir()
    logger.log_metrics({"best": 0.6}, 1)
    with pytest.raises(StorageError, match="vanished"):
        logger.save()
