"""A run folder in place of settings, by the real commands."""

import io
import json
import os
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml

from swarm_lightning.cli.main import main
from swarm_lightning.cli.parsing.named_run import with_run
from swarm_lightning.errors import InputError
from tests.cli.conftest import Run
from tests.search.tiny_search import World, calm_process, load_checkpoint, read_rows, run_swarm


def swarm(*words: str) -> str:
    printed = io.StringIO()
    with calm_process(), redirect_stdout(printed):
        main(list(words))
    return printed.getvalue()


def test_a_run_needs_nothing_else_to_be_validated_tested_exported_and_asked(run: Run, tmp_path: Path) -> None:
    folder = str(run.folder)
    (tmp_path / "questions.txt").write_text("What is 2 plus 3?\n", encoding="utf-8")
    swarm("validate", folder)
    assert [row["name"] for row in read_rows(run.folder / "validation.csv")] == [
        "best initial expert",
        "best found expert",
    ]
    swarm("test", folder)
    assert read_rows(run.folder / "test.csv")[0]["examples"] == "12"
    swarm("predict", folder, "--data.prompts", str(tmp_path / "questions.txt"))
    assert (run.folder / "predictions.jsonl").is_file()
    printed = swarm("export", folder, "--particle", "2", "--output", str(tmp_path / "third"))
    assert "Exported:" in printed
    weights = [path / "adapter_model.safetensors" for path in (tmp_path / "third", run.folder / "particle_2")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_run_goes_on_by_its_folder_alone(run: Run) -> None:
    swarm("fit", "--resume", str(run.folder), "--trainer.max_steps", "4")
    assert [row["iteration"] for row in read_rows(run.folder / "history.csv")] == list("01234")
    assert load_checkpoint(run.folder)["global_step"] == 4
    assert os.listdir(run.root) == [run.folder.name]


def test_a_run_is_written_out_as_its_config_and_checkpoint(run: Run) -> None:
    folder = str(run.folder)
    config, checkpoint = f"{folder}/config.yaml", f"{folder}/checkpoints/last.ckpt"
    meant = ["--config", config, "--ckpt_path", folder]
    assert with_run(["test", folder, "--trainer.devices", "2"]) == ["test", *meant, "--trainer.devices", "2"]
    assert with_run(["export", checkpoint]) == ["export", "--config", config, "--ckpt_path", checkpoint]
    assert with_run(["fit", "--trainer.max_steps", "4", "--resume", folder]) == [
        "fit", *meant, "--trainer.max_steps", "4",
    ]  # fmt: skip
    assert with_run(["fit", f"--resume={folder}"]) == ["fit", *meant]
    assert with_run(["test", "--config", "search.yaml"]) == ["test", "--config", "search.yaml"]


def test_what_is_no_run_is_refused_with_what_is_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it holds the runs version_0\. Name one of them"):
        with_run(["test", str(run.root)])
    with pytest.raises(InputError, match=r"there is none\. `swarm runs` lists"):
        with_run(["fit", "--resume", str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match=r"it has no config\.yaml"):
        with_run(["export", str(run.folder / "best_expert")])
    with pytest.raises(InputError, match="after --resume, but got none"):
        with_run(["fit", "--resume"])


def test_relative_paths_of_a_run_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, folder = tmp_path / "start", tmp_path / "version_0"
    for name in ("start/data", "start/one", "elsewhere", "version_0"):
        (tmp_path / name).mkdir(parents=True)
    (start / "data" / "qa.csv").touch()
    config = {
        "model": {"base": "owner/base", "experts": ["one", "owner/two"]},
        "data": {"dataset": {"a": "data/qa.csv"}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "run.json").write_text(json.dumps({"state": "ended", "started_in": str(start)}))
    monkeypatch.chdir(tmp_path / "elsewhere")
    meant = ["test", "--config", str(folder / "config.yaml")]
    experts, data = json.dumps([str(start / "one"), "owner/two"]), json.dumps({"a": str(start / "data" / "qa.csv")})
    found = ["--model.experts", experts, "--data.dataset", data]
    assert with_run(["test", str(folder)]) == [*meant, *found, "--ckpt_path", str(folder)]
    monkeypatch.chdir(start)
    assert with_run(["test", str(folder)]) == [*meant, "--ckpt_path", str(folder)]


def test_a_run_with_relative_paths_is_tested_from_another_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in (("base", world.base), ("experts", world.experts), ("qa.json", world.dataset)):
        (tmp_path / name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    config = world.config(Path("runs"), model={"base": "./base", "experts": "experts"}, data={"dataset": "qa.json"})
    run_swarm({**config, "stop": {"patience": 1}}, "fit", tmp_path, "--trainer.max_steps", "1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    swarm("test", str(tmp_path / "runs" / "version_0"))
    assert (tmp_path / "runs" / "version_0" / "test.csv").is_file()
    assert list((tmp_path / "elsewhere").iterdir()) == []
