"""Data, configs, values, objectives and checkpoints that can't be used are refused, and nothing is written."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from tests.cli.conftest import Run
from tests.cli.refused import message_of
from tests.search.tiny_search import World, content, records, search

RECORDS = records(4, 3)
SWARM = "swarm_lightning.swarm.ParticleSwarm"


def written(name: str, text: str | bytes) -> Callable[[Path], dict[str, Any]]:
    """Data settings that name a file with this content."""

    def write(folder: Path) -> dict[str, Any]:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return {"dataset": str(folder / name)}

    return write


def splits(**changes: Any) -> Callable[[Path], dict[str, Any]]:
    return written("data.json", json.dumps({"dev": RECORDS, "test": RECORDS, **changes}))


def with_settings(**settings: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {**splits()(folder), **settings}


DATA: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "missing": (lambda folder: {"dataset": "no/such/data.json"}, "no/such/data.json"),
    "an empty name": (lambda folder: {"dataset": ""}, "dataset"),
    "an empty file": (written("data.json", ""), "it is empty"),
    "broken JSON": (written("data.json", '{"dev": [\n  {"question" "x"}\n]}'), "line 2, column 15"),
    "cut off": (written("data.json", json.dumps({"dev": RECORDS})[:60]), "line 1, column"),
    "another file": (written("data.txt", "Question?"), "ends in .json"),
    "not UTF-8": (written("data.json", '{"dev": "é"}'.encode("latin-1")), "UTF-8"),
    "nested without end": (written("data.json", "[" * 100_000), "data.json"),
    "no splits": (written("data.json", '{"records": []}'), "'dev' and 'test'.*records"),
    "one split, empty": (written("data.json", '{"train": []}'), "'train'.*empty"),
    "a split no list": (splits(dev={}), "'dev' .*list of records"),
    "a split empty": (splits(dev=[]), "dev"),
    "records no objects": (splits(dev=["What?", "Why?"]), "record"),
    "other columns": (splits(dev=[{"prompted": "What?"}] * 3), "question"),
    "no answers": (splits(dev=[{"question": f"What is {n}?"} for n in range(3)]), "answer"),
    "column missing": (with_settings(columns={"question": "frage"}), "frage"),
    "column of an unknown part": (with_settings(columns={"questoin": "question"}), "question"),
    "more than there is": (with_settings(validation_size=1000), "1000"),
    "none drawn": (with_settings(validation_size=0), "validation_size"),
    "fewer than none": (with_settings(test_size=-1), "test_size"),
    "unknown split": (with_settings(validation_split="training"), "training"),
    "lines broken": (written("data.jsonl", json.dumps(RECORDS[0]) + "\n{question\n"), "line 2"),
    "lines empty": (written("data.jsonl", "\n\n"), "data.jsonl"),
    "table without rows": (written("data.csv", "question,answer\n"), "only a header"),
    "table with a column twice": (written("data.csv", "question,question\na,b\n"), "occur twice: question"),
    "table with ragged rows": (written("data.csv", "question,answer\na,b\nc,d,e,f\n"), "line 3 has 4 cells"),
    "table in another encoding": (written("data.csv", "question,answer\né,b\n".encode("latin-1")), "UTF-8"),
    "no Parquet": (written("data.parquet", "question,answer\na,b\n"), "data.parquet"),
    "no Parquet, empty": (written("data.parquet", ""), "data.parquet"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_can_not_be_used_are_refused(world: World, tmp_path: Path, case: str) -> None:
    data, expected = DATA[case]
    with pytest.raises(InputError, match=expected):
        search(world, tmp_path / "runs", data=SwarmData(**data(tmp_path)))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("case", ["missing", "an empty name", "not UTF-8", "no Parquet", "no answers"])
def test_the_command_says_of_data_that_can_not_be_used_in_one_message(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    data, expected = DATA[case]
    config = world.config(tmp_path / "runs")
    config["data"] = data(tmp_path)
    told = message_of(config, tmp_path, capsys)
    assert re.search(expected, told), told


TEXTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "YAML mapping.*an empty file"),
    "a list": ("- model\n", "YAML mapping.*- model"),
    "a word": ("model", "YAML mapping|model"),
    "broken": ("model:\n  particles: 5\n base: x\n", "in the config, line 3, column 2"),
    "cut off": ("model: {particles: 5,\n", "in the config, line 2, column 1"),
    "with tabs": ("model:\n\tparticles: 5\n", "in the config, line 2, column 1"),
    "not UTF-8": (b"model:\n  base: \xff\xfe\n", "config to be UTF-8 text, but byte 15"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_config_that_can_not_be_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    text, expected = TEXTS[case]
    told = message_of(text, tmp_path, capsys)
    assert re.search(expected, told), told


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({"model": {"particels": 5}}, "'model.particles'"),
        ({"model": {"optimiser": {"init_args": {"lr": 1}}}}, "'model.optimizer.init_args.lr'"),
        ({"model": {"engine": {"rowz": 4}}}, "'model.engine.rows'"),
        (
            {"model": {"optimizer": {"class_path": SWARM, "init_args": {"inertial": 1}}}},
            "'inertia'",
        ),
        ({"model": {"objective": {"init_args": {"max_new_token": 5}}}}, "'max_new_tokens'"),
        ({"trainer": {"max_step": 5}}, "'trainer.max_steps'"),
        ({"data": {"datasett": "x"}}, "'data.dataset'"),
        ({"restart": {"patiense": 5}}, "'restart.patience'"),
        ({"patience": 5}, "'restart.patience' or 'stop.patience'"),
        ({"modle": {"particles": 5}}, "'model.particles'"),
        ({"seed_everythin": 5}, "'seed_everything'"),
    ],
)
def test_an_unknown_key_in_the_config_is_refused_with_the_one_that_was_meant(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], meant: str
) -> None:
    told = message_of(world.config(tmp_path / "runs", **changes), tmp_path, capsys)
    assert f"Did you mean {meant}?" in told, told


@pytest.mark.parametrize(
    ("flag", "meant"),
    [("--model.particels", "'model.particles'"), ("--model.optimiser.lr", "'model.optimizer.lr'"), ("--ckpt_pat", "")],
)
def test_an_unknown_flag_is_refused_with_the_one_that_was_meant(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, meant: str
) -> None:
    told = message_of(world.config(tmp_path / "runs"), tmp_path, capsys, flag, "1")
    assert meant in told


VALUES: dict[str, tuple[str, str, str]] = {
    "N": ("model.particles", "1", "at least 2 particles"),
    "N negative": ("model.particles", "-3", "at least 2 particles"),
    "N a text": ("model.particles", "many", "model.particles"),
    "N smaller than the pool": ("model.particles", "2", "at least as many particles as experts"),
    "span": ("model.child_span", "0", "child_span"),
    "span infinite": ("model.child_span", ".inf", "child_span"),
    "ensemble": ("model.ensemble_size", "0", "ensemble_size"),
    "step": ("model.optimizer.lr", "0", "step length"),
    "step NaN": ("model.optimizer.lr", ".nan", "step length"),
    "inertia": ("model.optimizer.inertia", "-0.1", "inertia"),
    "repel": ("model.optimizer.repel", "-1", "repel"),
    "repel infinite": ("model.optimizer.repel", ".inf", "repel"),
    "drop-K": ("model.optimizer.drop_iteration", "1", "drop_iteration"),
    "drop-N": ("model.optimizer.drop_particle", "1.5", "drop_particle"),
    "first velocity": ("model.optimizer.first_velocity", "slow", "slow"),
    "factor": ("model.scheduler.factor", "0", "factor"),
    "floor": ("model.scheduler.minimum", "-1", "minimum"),
    "K": ("trainer.max_steps", "0", "at least 1 iteration"),
    "devices": ("trainer.devices", "0", "devices"),
    "seed": ("seed_everything", "-1", "seed"),
    "restart patience": ("restart.patience", "0", "restart patience"),
    "patience": ("stop.patience", "-2", "patience"),
    "every n iterations": ("checkpoint.every_n_iterations", "-1", "every_n_iterations"),
    "particle to export": ("export_best.particles", "[-1]", "from 0 to 4"),
    "dtype": ("model.dtype", "float8", "dtype"),
    "rows": ("model.engine.rows", "-4", "engine.rows"),
    "chunk": ("model.engine.chunk", "0", "chunk"),
    "lots": ("model.engine.lots", "0", "lots"),
    "new tokens": ("model.objective.max_new_tokens", "-1", "max_new_tokens"),
    "template": ("model.objective.template", "no place for the question", "template"),
    "regex": ("model.objective.pattern", "([", "pattern|regular"),
    "engine's particles": ("model.engine.particles", "-1", "engine.particles"),
    "kernel": ("model.optimizer.kernel", "fast", "kernel"),
    "rule": ("model.objective.rule", "nearly", "nearly"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_value_out_of_range_is_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    key, value, expected = VALUES[case]
    rule = ["--model.objective.rule", "regex"] if case == "regex" else []
    told = message_of(world.config(tmp_path / "runs"), tmp_path, capsys, *rule, f"--{key}={value}")
    assert re.search(expected, told), told


OBJECTIVES = {
    "nowhere": ("nowhere_at_all.Objective", "nowhere_at_all"),
    "a name only": ("Brevity", "Brevity"),
    "no objective": ("fractions.Fraction", "Fraction"),
    "of a module that fails": ("own_failing.Objective", "own_failing|division by zero"),
}


@pytest.mark.parametrize("case", OBJECTIVES)
def test_an_objective_that_can_not_be_made_is_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    (tmp_path / "own_failing.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    path, expected = OBJECTIVES[case]
    config = world.config(tmp_path / "runs")
    config["model"]["objective"] = {"class_path": path}
    told = message_of(config, tmp_path, capsys)
    assert re.search(expected, told), told


def changed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        checkpoint = torch.load(path, weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, path)

    return write


def with_code(path: Path) -> None:
    torch.save({"state_dict": {}, "code": Path}, path)  # a class: loading it would run code


def a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")


def of_other_sizes(checkpoint: dict[str, Any]) -> None:
    checkpoint["state_dict"]["positions"] = checkpoint["state_dict"]["positions"][:, :-1]


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "missing": (Path.unlink, [], "there is none"),
    "empty": (lambda path: path.write_bytes(b""), [], "is not one, or is incomplete"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-500]), [], "is not one, or is incomplete"),
    "broken inside": (
        lambda path: path.write_bytes(path.read_bytes()[:3000] + b"\x00" * 400 + path.read_bytes()[3400:]),
        [],
        "checkpoint",
    ),
    "text": (lambda path: path.write_text("no checkpoint"), [], "is not one, or is incomplete"),
    "an archive of other things": (a_zip, [], "checkpoint"),
    "with code in it": (with_code, [], "tensors and plain values only"),
    "of something else": (lambda path: torch.save({"state_dict": {}}, path), [], "checkpoint"),
    "not of a search": (changed(lambda old: old.pop("swarm_lightning")), [], "checkpoint of a swarm"),
    "of another format": (changed(lambda old: old["swarm_lightning"].update(format=99)), [], "format"),
    "of other sizes": (changed(of_other_sizes), [], "checkpoint"),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_that_can_not_be_resumed_is_refused_and_its_run_left_as_it_is(
    run: Run, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    change, arguments, expected = CHECKPOINTS[case]
    change(run.folder / "checkpoints" / "last.ckpt")
    told = message_of(run.config, run.root.parent, capsys, "--ckpt_path", "last", *arguments)
    assert re.search(expected, told), told


@pytest.mark.parametrize(
    ("subcommand", "arguments", "expected"),
    [
        ("validate", [], "Expected a run for 'swarm validate'"),
        ("export", ["--ckpt_path", "last", "--particle", "5"], "from 0 to 4, but got 5"),
        ("export", ["--ckpt_path", "last", "--particle", "-1"], "from 0 to 4, but got -1"),
        ("export", ["--ckpt_path", "last"], "Expected a new folder"),
        ("export", ["--ckpt_path", "no/such/run"], "no/such/run"),
        ("predict", ["--ckpt_path", "last"], "data.prompts"),
        ("predict", ["--ckpt_path", "last", "--data.prompts", "no/such/prompts.txt"], "no/such/prompts.txt"),
        ("test", ["--ckpt_path", "last", "--model.particles", "9"], "particles is 9"),
        ("search", [], "search"),
    ],
)
def test_a_subcommand_that_can_not_be_run_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str], subcommand: str, arguments: list[str], expected: str
) -> None:
    before = content(run.root)
    told = message_of(run.config, run.root.parent, capsys, *arguments, subcommand=subcommand)
    assert re.search(expected, told), told
    assert content(run.root) == before
