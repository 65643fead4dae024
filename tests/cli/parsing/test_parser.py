"""Short names, whole flags, and configs of other commands."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_lightning.cli.main import main
from swarm_lightning.cli.parsing.parser import without_keys
from tests.cli.conftest import Run
from tests.cli.refused import message_of
from tests.search.tiny_search import World, calm_process, read_rows


def parsed(config: dict[str, Any], folder: Path, *arguments: str) -> dict[str, Any]:
    path, printed = folder / "search.yaml", io.StringIO()
    path.write_text(yaml.safe_dump(config))
    with calm_process(), contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(path), *arguments, "--print_config"])
    assert not ended.value.code
    found: dict[str, Any] = yaml.safe_load(printed.getvalue())
    return found


@pytest.mark.parametrize("objective", ["ExactMatch", {"class_path": "ExactMatch"}, "MultipleChoice", "Safety"])
def test_an_objective_goes_by_its_name_in_a_config(world: World, tmp_path: Path, objective: Any) -> None:
    config = world.config(tmp_path / "runs")
    config["model"]["objective"] = objective
    name = objective if isinstance(objective, str) else objective["class_path"]
    assert parsed(config, tmp_path)["model"]["objective"]["class_path"].endswith(f".{name}")


@pytest.mark.parametrize(
    ("arguments", "part", "name"),
    [
        (["--model.objective", "ExactMatch", "--model.objective.max_new_tokens", "3"], ("model", "objective"), None),
        (["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs"], ("trainer", "logger"), "CSVLogger"),
        (["--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "x"], ("trainer", "logger"), None),
        (["--trainer.logger", "WandbLogger"], ("trainer", "logger"), None),
        (["--trainer.logger", "MLFlowLogger"], ("trainer", "logger"), None),
        (
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=diversity"],
            ("trainer", "callbacks"),
            None,
        ),
        (["--trainer.callbacks+=LearningRateMonitor"], ("trainer", "callbacks"), None),
        (["--trainer.callbacks+=PredictionWriter"], ("trainer", "callbacks"), None),
        (["--model.scheduler", "ExponentialLR", "--model.scheduler.gamma", "0.5"], ("model", "scheduler"), None),
    ],
)
def test_classes_go_by_their_names_on_the_command_line(
    world: World, tmp_path: Path, arguments: list[str], part: tuple[str, str], name: str | None
) -> None:
    found = parsed(world.config(tmp_path / "runs"), tmp_path, *arguments)[part[0]][part[1]]
    wanted = name or arguments[0].rpartition("=")[2] if "+=" in arguments[0] else arguments[1]
    assert (found[0] if isinstance(found, list) else found)["class_path"].endswith(f".{wanted}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model.objective", "ExactMach"], "Expected model.objective to name a class, but there is no 'ExactMach'. "
         "Did you mean 'ExactMatch'?"),
        (["--trainer.logger", "CSVLoger"], "there is no 'CSVLoger'. Did you mean 'CSVLogger'"),
        (["--trainer.callbacks+=EarlyStop"], "there is no 'EarlyStop'. Did you mean 'EarlyStopping'"),
        (["--model.particle", "10"], "Did you mean 'model.particles'?"),
        (["--trainer.max_step", "10"], "Did you mean 'trainer.max_steps'?"),
        (["--model.objective.max_new", "10"], "Did you mean 'max_new_tokens'?"),
        (["--ckpt", "last"], "Did you mean 'ckpt_path'?"),
        (["--weights_only", "true", "--compare.particles", "3"], "--compare.particles"),
    ],
)  # fmt: skip
def test_names_that_are_none_and_parts_of_flags_are_refused_with_what_was_meant(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    message = message_of(world.config(tmp_path / "runs"), tmp_path, capsys, *arguments)
    assert told in message.replace("\n", " ")


def test_a_short_name_in_a_run_is_resumed(run: Run) -> None:
    run.config["model"]["objective"]["class_path"] = "ExactMatch"
    run.swarm("fit", "--ckpt_path", "last", "--trainer.max_steps", "4")
    assert len(read_rows(run.folder / "history.csv")) == 5


@pytest.mark.parametrize("command", ["validate", "test", "export"])
def test_every_command_takes_the_config_of_a_run(run: Run, tmp_path: Path, command: str) -> None:
    further = ["--output", str(tmp_path / "exported")] if command == "export" else []
    with calm_process(), contextlib.redirect_stdout(io.StringIO()):
        main([command, "--config", str(run.folder / "config.yaml"), "--trainer.default_root_dir", str(run.root),
              "--ckpt_path", "last", *further])  # fmt: skip


def test_keys_are_cut_out_with_all_that_belongs_to_them() -> None:
    text = "# a\nmodel:\n  base: b # c\ncompare:\n  methods: [x]\n  # d\nckpt_path: null\nseed: 1e-3\n"
    keys: dict[str, tuple[object, ...] | None] = {"compare": None, "ckpt_path": (None,), "seed": (2,)}
    assert without_keys(text, keys) == "# a\nmodel:\n  base: b # c\nseed: 1e-3\n"


@pytest.mark.parametrize("text", ["", "words", "[1]", "{compare: 1}", "a: [", "ckpt_path: here\n"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_keys(text, {"compare": None, "ckpt_path": (None,)}) == text
