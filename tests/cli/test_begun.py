"""A run without a checkpoint is gone on with by the same search only."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_lightning.cli.begun import other_settings
from tests.search.tiny_search import World, content, run_swarm


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a search whose newest run was ended before its first checkpoint; the one before is whole."""
    runs = tmp_path_factory.mktemp("begun") / "runs"
    run_swarm(config(world, runs), "fit", runs.parent)
    (runs / "version_1").mkdir()
    shutil.copy(runs / "version_0" / "config.yaml", runs / "version_1")
    return runs


@pytest.fixture
def root(runs: Path, tmp_path: Path) -> Path:
    """A copy of these runs that a test may write into."""
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def config(world: World, root: Path, **model: Any) -> dict[str, Any]:
    return world.config(root, model=model, trainer={"max_steps": 1})


def test_the_same_search_begins_again_in_its_folder(world: World, root: Path, tmp_path: Path) -> None:
    printed = run_swarm(config(world, root, engine={"lots": 2}), "fit", tmp_path, "--ckpt_path", "last")
    assert f"{root / 'version_1'} has no checkpoint yet" in printed.replace("\n", "")
    assert content(root / "version_1").keys() >= {"summary.json", "history.csv", "checkpoints/last.ckpt"}
    assert (root / "version_1" / "history.csv").read_text() != ""


def test_last_passes_over_a_run_of_another_search(world: World, root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "version_1" / "config.yaml", tmp_path / "as_it_was.yaml")
    text = (root / "version_1" / "config.yaml").read_text(encoding="utf-8")
    other = text.replace("child_span: 2.0", "child_span: 1.0")
    assert other != text
    (root / "version_1" / "config.yaml").write_text(other, encoding="utf-8")
    printed = run_swarm(config(world, root), "fit", tmp_path, "--ckpt_path", "last", "--trainer.max_steps", "2")
    assert "its search had other settings (model.child_span): skipping it" in printed.replace("\n", "")
    assert (root / "version_1" / "config.yaml").read_text(encoding="utf-8") == other
    assert len((root / "version_0" / "history.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3


def test_a_named_run_of_another_search_is_refused(
    world: World, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(root / "version_1")
    folder = str(root / "version_1")
    with pytest.raises(SystemExit) as ended:
        run_swarm(config(world, root, child_span=1.0), "fit", tmp_path, "--ckpt_path", folder)
    assert ended.value.code == 2
    assert "these settings have changed: model.child_span" in capsys.readouterr().err.replace("\n", " ")
    assert content(root / "version_1") == before


@pytest.mark.parametrize(("left", "named"), [([], False), ([".lock"], True)])
def test_a_run_that_was_ended_before_it_wrote_anything_begins_anew(
    world: World, root: Path, tmp_path: Path, left: list[str], named: bool
) -> None:
    folder = root / "version_2"
    folder.mkdir()
    for name in left:
        (folder / name).write_text("process 1 on elsewhere")
    printed = run_swarm(config(world, root), "fit", tmp_path, "--ckpt_path", str(folder) if named else "last")
    assert printed.replace("\n", "").startswith(f"{folder} belongs to a run that ended before it wrote anything")
    assert content(folder).keys() >= {"config.yaml", "summary.json", "checkpoints/last.ckpt"}


def test_what_last_means_is_said_first(world: World, root: Path, tmp_path: Path) -> None:
    (root / "version_2").mkdir()
    (root / "version_2" / ".lock").touch()
    printed = run_swarm(config(world, root), "validate", tmp_path, "--ckpt_path", "last")
    checkpoint, newer = root / "version_0" / "checkpoints" / "last.ckpt", f"{root / 'version_1'}, {root / 'version_2'}"
    assert printed.startswith(f"--ckpt_path last: {checkpoint} ({newer} passed over: no checkpoint)\n")


def test_a_refused_search_leaves_no_folder_that_was_never_written_to(
    world: World, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "version_2").mkdir()
    with pytest.raises(SystemExit):
        run_swarm(config(world, root, base=str(tmp_path / "nowhere")), "fit", tmp_path, "--ckpt_path", "last")
    assert not (root / "version_2").exists()


def test_an_objective_that_was_chosen_then_is_the_one_that_is_chosen_now(tmp_path: Path) -> None:
    objective = "objective: {class_path: swarm_lightning.objectives.ExactMatch, init_args: {max_new_tokens: 30}}"
    (tmp_path / "config.yaml").write_text(f"model: {{particles: 3, {objective}}}\n")
    assert other_settings(tmp_path, "model: {particles: 3, objective: null}") == []
    assert other_settings(tmp_path, "model: {particles: 4, objective: null}") == ["model.particles"]
    assert other_settings(tmp_path, f"model: {{particles: 3, {objective.replace('30', '20')}}}") == [
        "model.objective.init_args.max_new_tokens"
    ]


def test_an_objective_that_the_data_decide_hides_no_other_setting(tmp_path: Path) -> None:
    model = {"objective": {"class_path": "ExactMatch", "init_args": {"chat": False}}, "objective_every": 4}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": model}), encoding="utf-8")
    assert other_settings(tmp_path, "model: {objective: null, objective_every: 4}") == []
    assert other_settings(tmp_path, "model: {objective: null, objective_every: 2}") == ["model.objective_every"]
