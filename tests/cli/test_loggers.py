"""Loggers that come in by config, each read back with its own reader."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.search.tiny_search import read_rows

ITERATIONS = 3
LOGGED = (
    "global_best",
    "global_worst",
    "personal_best_mean",
    "step_length",
    "diversity",
    "restarts",
    "evaluation_seconds",
)


def run_with(run: Run, logger: Any) -> tuple[Path, list[dict[str, str]]]:
    """Search again with a logger; return the new run folder and its history."""
    run.config["trainer"]["logger"] = logger
    run.swarm("fit")
    folder = run.root / "version_1"
    return folder, read_rows(folder / "history.csv")


def assert_logged(history: list[dict[str, str]], series: dict[str, list[tuple[int, float]]]) -> None:
    """Compare every series with the history, in the precision of a float32."""
    bounds = (f"{bound}/particle_{index:02d}" for bound in ("at_least", "at_most") for index in range(5))
    for name in (*LOGGED, *bounds):
        assert [step for step, _ in series[name]] == list(range(ITERATIONS + 1)), name
        expected = [float(row[name]) for row in history]
        assert [value for _, value in series[name]] == pytest.approx(expected, rel=1e-6), name
    for name in (f"utility/particle_{index:02d}" for index in range(5)):  # not there where left open
        known = [(step, float(row[name])) for step, row in enumerate(history) if row[name]]
        assert series[name] == [(step, pytest.approx(value, rel=1e-6)) for step, value in known], name


def test_the_default_is_a_csv_file_in_the_run_folder(finished: Run) -> None:
    history, rows = (read_rows(finished.folder / name) for name in ("history.csv", "logs/version_0/metrics.csv"))
    assert_logged(
        history, {name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in rows[0]}
    )


def test_tensorboard_gets_every_series_once_per_iteration(run: Run) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": "<run>", "name": "board"},
    }
    folder, history = run_with(run, settings)
    assert not (folder / "logs").exists(), "another logger takes the place of the CSV file"
    events = accumulator.EventAccumulator(str(folder / "board" / "version_0")).Reload()
    series = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert_logged(history, series)
    assert not list(Path().glob("<run>*"))


def test_several_loggers_work_side_by_side(run: Run) -> None:
    loggers = [
        {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "<run>", "name": name}}
        for name in ("first", "second")
    ]
    folder, _ = run_with(run, loggers)
    first, second = (folder / name / "version_0" / "metrics.csv" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert len(read_rows(first)) == ITERATIONS + 1


def test_a_run_without_a_logger_has_its_history_all_the_same(run: Run) -> None:
    folder, history = run_with(run, False)
    assert len(history) == ITERATIONS + 1
    assert not (folder / "logs").exists()


def test_mlflow_with_a_local_file_store_gets_every_series(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    # From MLflow 3 on a file store has to be asked for.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    settings = {
        "class_path": "lightning.pytorch.loggers.MLFlowLogger",
        "init_args": {"experiment_name": "swarm", "save_dir": "<run>/mlflow"},
    }
    folder, history = run_with(run, settings)
    client = mlflow.MlflowClient(tracking_uri=f"file:{folder / 'mlflow'}")
    experiment = client.get_experiment_by_name("swarm")
    (stored,) = client.search_runs([experiment.experiment_id])
    series = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(stored.info.run_id, name)]
        for name in stored.data.metrics
    }
    assert_logged(history, series)


def test_wandb_offline_gets_every_series(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings = {
        "class_path": "lightning.pytorch.loggers.WandbLogger",
        "init_args": {"project": "swarm", "offline": True, "save_dir": "<run>"},
    }
    run.config["trainer"]["logger"] = settings
    try:
        folder, history = run_with(run, settings)
        assert wandb.run is not None
        summary = dict(wandb.run.summary)
    finally:
        wandb.finish()
    assert list(folder.rglob("run-*.wandb")), "nothing was written into the run folder"
    for name in (*LOGGED, "at_most/particle_04"):
        assert math.isclose(summary[name], float(history[-1][name]), rel_tol=1e-6), name


def test_tensorboard_goes_on_in_the_same_folder(run: Run) -> None:
    pytest.importorskip("tensorboard")
    run.config["trainer"]["logger"] = {
        "class_path": "TensorBoardLogger",
        "init_args": {"save_dir": "<run>", "name": "board"},
    }
    run.swarm("fit", "--trainer.max_steps", "1")
    run.swarm("fit", "--ckpt_path", "last", "--trainer.max_steps", "2")
    assert [path.name for path in (run.root / "version_1" / "board").iterdir()] == ["version_0"]
    assert len(list((run.root / "version_1" / "board" / "version_0").glob("events.*"))) == 2


def test_wandb_goes_on_in_the_same_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run.config["trainer"]["logger"] = {
        "class_path": "WandbLogger",
        "init_args": {"project": "swarm", "offline": True, "save_dir": "<run>"},
    }
    for arguments in (["--trainer.max_steps", "1"], ["--trainer.max_steps", "2", "--ckpt_path", "last"]):
        try:
            run.swarm("fit", *arguments)
        finally:
            wandb.finish()
    runs = [path.stem.removeprefix("run-") for path in (run.root / "version_1").rglob("run-*.wandb")]
    assert len(runs) == 2
    assert len(set(runs)) == 1
