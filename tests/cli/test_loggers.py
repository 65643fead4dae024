"""Loggers that come in by config, each read back with its own reader."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.search.tiny_search import content, read_rows

ITERATIONS = 3
# Names of loggers, and those of the history.
LOGGED = {
    **{f"swarm/{name}": name for name in ("global_best", "global_worst", "personal_best_mean", "step_length")},
    **{f"swarm/{name}": name for name in ("diversity", "restarts")},
    "time/evaluation_seconds": "evaluation_seconds",
}
SPLITS, BOUNDS = ("validation", "test"), ("at_least", "at_most")
PARTICLES = [f"{index:02d}" for index in range(5)]


def run_with(run: Run, logger: Any) -> tuple[Path, list[dict[str, str]]]:
    """Search again with a logger; return the new run folder and its history."""
    run.config["trainer"]["logger"] = logger
    run.swarm("fit")
    folder = run.root / "version_1"
    return folder, read_rows(folder / "history.csv")


def assert_logged(history: list[dict[str, str]], series: dict[str, list[tuple[int, float]]]) -> None:
    """Compare every series with the history, in the precision of a float32."""
    bounds = {f"particles/{one}_{which}": f"{one}/particle_{which}" for one in BOUNDS for which in PARTICLES}
    for name, column in {**LOGGED, **bounds}.items():
        assert [step for step, _ in series[name]] == list(range(ITERATIONS + 1)), name
        expected = [float(row[column]) for row in history]
        assert [value for _, value in series[name]] == pytest.approx(expected, rel=1e-6), name
    for which in PARTICLES:
        cells = [row[f"utility/particle_{which}"] for row in history]
        known = [
            (step, pytest.approx(float(cell), rel=1e-6)) for step, cell in enumerate(cells) if cell
        ]  # the others are open
        assert series[f"particles/utility_{which}"] == known


def assert_has_the_result(folder: Path, last: dict[str, float]) -> None:
    """Compare the last values of a logger with the summary, in the precision of a float32."""
    summary = json.loads((folder / "summary.json").read_text())
    expected = {
        f"{split}/{row['name'].replace(' ', '_')}": row["utility"] for split in SPLITS for row in summary[split]
    }
    gain = summary["test"][1]["gain"]
    expected |= {
        "test/best_found_expert_gain": gain["difference"],
        "test/best_found_expert_gain_low": gain["low"],
        "test/best_found_expert_gain_high": gain["high"],
        "swarm/iterations": summary["iterations"],
    }
    assert {name: last[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_the_default_is_a_csv_file_in_the_run_folder(finished: Run) -> None:
    history, rows = (read_rows(finished.folder / name) for name in ("history.csv", "logs/version_0/metrics.csv"))
    series = {name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in rows[0]}
    assert_logged(history, series)
    assert_has_the_result(finished.folder, {name: points[-1][1] for name, points in series.items()})


def test_the_numbers_of_particles_can_be_left_out_and_an_ended_search_logs_its_result_once(run: Run) -> None:
    run.swarm("fit", "--model.log_particles", "false")
    path = run.root / "version_1" / "logs" / "version_0" / "metrics.csv"
    rows = read_rows(path)
    assert "swarm/global_best" in rows[0]
    assert not [name for name in rows[0] if name.startswith("particles/")]
    run.swarm("fit", "--model.log_particles", "false", "--ckpt_path", "last")  # nothing is left to do
    assert read_rows(path) == rows


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
    last = {name: points[-1][1] for name, points in series.items()}
    assert_has_the_result(folder, last)
    assert last["hp_metric"] == last["test/best_found_expert"]
    assert not list(Path().glob("<run>*"))


@pytest.mark.parametrize("command", ["test", "predict"])
def test_a_command_on_a_run_begins_no_run_of_a_logger(run: Run, command: str) -> None:
    run.config["trainer"]["logger"] = {"class_path": "CSVLogger", "init_args": {"save_dir": "<run>", "name": "mine"}}
    prompts = run.root / "prompts.txt"
    prompts.write_text("What is 3 plus 4?\n")
    more = ["--data.prompts", str(prompts)] if command == "predict" else []
    run.swarm(command, "--ckpt_path", str(run.folder), *more)
    assert not (run.folder / "mine").exists()


def test_a_logger_on_the_command_line_of_a_test_gets_its_scores(run: Run) -> None:
    run.swarm("test", "--ckpt_path", str(run.folder), "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=<run>")
    (path,) = run.folder.glob("lightning_logs/*/metrics.csv")
    assert read_rows(path)[0]["test/best_found_expert"]


def test_several_loggers_work_side_by_side(run: Run) -> None:
    loggers = [
        {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "<run>", "name": name}}
        for name in ("first", "second")
    ]
    folder, _ = run_with(run, loggers)
    first, second = (folder / name / "version_0" / "metrics.csv" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert len(read_rows(first)) == ITERATIONS + 2  # the last one is the result


def test_a_run_without_a_logger_has_its_history_all_the_same(run: Run) -> None:
    folder, history = run_with(run, False)
    assert len(history) == ITERATIONS + 1
    assert not (folder / "logs").exists()


@pytest.mark.slow
def test_mlflow_with_a_local_file_store_gets_every_series_the_settings_and_the_adapter(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    # From MLflow 3 on a file store has to be asked for.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    settings = {
        "class_path": "lightning.pytorch.loggers.MLFlowLogger",
        "init_args": {"experiment_name": "swarm", "save_dir": "<run>/mlflow"},
    }
    run.config["export_best"]["log_artifact"] = True
    folder, history = run_with(run, settings)
    client = mlflow.MlflowClient(tracking_uri=f"file:{folder / 'mlflow'}")
    experiment = client.get_experiment_by_name("swarm")
    (stored,) = client.search_runs([experiment.experiment_id])
    series = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(stored.info.run_id, name)]
        for name in stored.data.metrics
    }
    assert_logged(history, series)
    assert_has_the_result(folder, stored.data.metrics)
    assert stored.data.params["model/particles"] == "5"
    (kept,) = folder.rglob("artifacts/best_expert")
    assert content(kept) == content(folder / "best_expert")


@pytest.mark.slow
def test_mlflow_goes_on_in_the_same_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run.config["trainer"]["logger"] = {"class_path": "MLFlowLogger", "init_args": {"save_dir": "<run>/mlflow"}}
    run.swarm("fit", "--trainer.max_steps", "1")
    run.swarm("fit", "--ckpt_path", "last", "--trainer.max_steps", "2")
    client = mlflow.MlflowClient(tracking_uri=f"file:{run.root / 'version_1' / 'mlflow'}")
    (stored,) = client.search_runs([client.get_experiment_by_name("lightning_logs").experiment_id])
    assert stored.data.metrics["swarm/iterations"] == 2
    assert stored.info.status == "FINISHED"


def test_an_artifact_that_no_logger_keeps_is_refused_before_the_search(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.swarm("fit", "--export_best.log_artifact", "true")
    assert "but there is ContinuedCSVLogger. Set one of them" in capsys.readouterr().err


@pytest.mark.slow
def test_wandb_offline_gets_every_series(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings = {
        "class_path": "lightning.pytorch.loggers.WandbLogger",
        "init_args": {"project": "swarm", "offline": True, "save_dir": "<run>"},
    }
    run.config["export_best"]["log_artifact"] = True
    try:
        folder, history = run_with(run, settings)
        assert wandb.run is not None
        summary, settings_logged = dict(wandb.run.summary), dict(wandb.run.config)
    finally:
        wandb.finish()
    assert list(folder.rglob("run-*.wandb")), "nothing was written into the run folder"
    for name, column in {**LOGGED, "particles/at_most_04": "at_most/particle_04"}.items():
        assert math.isclose(summary[name], float(history[-1][column]), rel_tol=1e-6), name
    assert_has_the_result(folder, summary)
    assert settings_logged["model"]["particles"] == 5


@pytest.mark.slow
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


@pytest.mark.slow
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
