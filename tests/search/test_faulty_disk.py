"""Disks that fill up, folders that can't be written to or vanish: one message, and what was written before stays."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_lightning.errors import StorageError
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.test_kill_anywhere import config_of
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import World, content, read_rows, run_swarm

# Runs the search with files of so many bytes at most: what the system says then is what it says on a full disk.
LIMITED = """
import resource
limit, *rest = ARGUMENTS
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
from swarm_lightning.cli.main import main
main(rest)
"""


@pytest.fixture(scope="module")
def stopped(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a search of one iteration."""
    root = tmp_path_factory.mktemp("stopped") / "runs"
    run_swarm(config_of(world, root, trainer={"max_steps": 1}), "fit", root.parent)
    return root


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one of three iterations that nothing has disturbed."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    run_swarm(config_of(world, root, trainer={"max_steps": 3}), "fit", root.parent)
    return root / "version_0"


def go_on(world: World, root: Path) -> None:
    run_swarm(config_of(world, root, trainer={"max_steps": 3}), "fit", root.parent, "--ckpt_path", "last")


def test_a_full_disk_ends_a_search_that_goes_on_from_the_last_whole_checkpoint(
    world: World, stopped: Path, whole: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "runs"))
    folder = root / "version_0"
    checkpoint = folder / "checkpoints" / "last.ckpt"
    before = content(folder)
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert max(sizes, key=lambda path: sizes[path]) == checkpoint, "so that it is the first file that does not fit"
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config_of(world, root, trainer={"max_steps": 3})))
    arguments = [str(sizes[checkpoint] // 2), "fit", "--config", str(path), "--ckpt_path", "last"]
    (ended,) = forked_ranks.run([{}], LIMITED, arguments)
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    assert f"swarm: Expected to write {str(checkpoint)!r}, but: File too large. Raise the limit" in ended.err
    assert "--ckpt_path" in ended.err
    after = content(folder)
    for name in before:
        if not name.startswith(("history", "logs", "run.json")):  # these have grown by an iteration
            assert after[name] == before[name], name
    assert not [name for name in after if name.endswith(".partial")]
    go_on(world, root)
    assert_same_run(folder, whole)


@pytest.mark.slow
def test_a_full_disk_on_the_rank_that_writes_ends_all_ranks(
    world: World, stopped: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "runs"))
    checkpoint = root / "version_0" / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config_of(world, root, trainer={"max_steps": 3})))
    arguments = [str(len(before) // 2), "fit", "--config", str(path), "--ckpt_path", "last"]
    first, other = forked_ranks.run(torchrun_environments(2), LIMITED, arguments)
    assert first.code == 2, first.err
    assert "File too large" in first.err
    assert other.code == 1, other.err
    assert "--ckpt_path" in other.err
    assert checkpoint.read_bytes() == before


def test_a_disk_that_is_full_for_the_scores_ends_the_search_before_it_pays_for_more(
    world: World, stopped: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "runs"))
    scores = root / "version_0" / "checkpoints" / "scores_0.jsonl"
    scores.symlink_to(tmp_path / "elsewhere" / "scores")  # can't be made there
    before, log = content(root), root / "version_0" / "logs" / "version_0" / "metrics.csv"
    logged = read_rows(log)
    with pytest.raises(SystemExit) as ended:
        go_on(world, root)
    assert ended.value.code == 2
    assert isinstance(ended.value.__cause__, StorageError)
    assert f"Expected to write {str(scores)!r}" in capsys.readouterr().err
    changed = [name for name, data in content(root).items() if data != before.get(name)]
    # The first says how the log goes on, the second what has stopped it; the log is without the result of the end that
    # is none any more.
    assert [name for name in changed if not name.endswith(("hparams.yaml", "run.json", "metrics.csv"))] == []
    assert [{name: row[name] for name in kept} for row, kept in zip(logged, read_rows(log), strict=False)] == read_rows(
        log
    )
    assert len(read_rows(log)) == len(logged) - 1
    scores.unlink()
    go_on(world, root)
    assert_same_run(root / "version_0", whole)


def no_history(folder: Path) -> None:
    (folder / "history.csv").unlink()


def no_logs(folder: Path) -> None:
    shutil.rmtree(folder / "logs")


def no_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")


def no_run(folder: Path) -> None:
    shutil.rmtree(folder)


VANISHING = """
import os, shutil
from tests.search import test_faulty_disk
from swarm_lightning.callbacks import RestartStagnant
from swarm_lightning.cli.main import main

name, folder, *rest = ARGUMENTS

def vanish(self, trainer, module, batch, batch_idx):
    if int(module.swarm.iterations) == 1:
        getattr(test_faulty_disk, name)(test_faulty_disk.Path(folder))

RestartStagnant.on_train_batch_start = vanish  # a moment in the middle of the search; nobody is restarted here
main(rest)
"""


PARTS = [pytest.param(part, marks=pytest.mark.slow) for part in (no_history, no_logs, no_checkpoints)]


@pytest.mark.parametrize("vanish", [no_run, *PARTS])
def test_a_folder_that_vanishes_is_told_and_nothing_is_made_in_its_place(
    world: World, forked_ranks: ForkedRanks, tmp_path: Path, vanish: Callable[[Path], None]
) -> None:
    root = tmp_path / "runs"
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config_of(world, root)))
    arguments = [vanish.__name__, str(root / "version_0"), "fit", "--config", str(path)]
    (ended,) = forked_ranks.run([{}], VANISHING, arguments)
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    assert "vanished" in ended.err
    folder = root / "version_0"
    if vanish is no_run:
        assert not folder.exists()
    elif vanish in (no_history, no_logs):
        gone = "history.csv" if vanish is no_history else "logs"
        assert not (folder / gone).exists()
        assert (folder / "checkpoints" / "last.ckpt").exists()
    else:
        assert not (folder / "checkpoints").exists()
        assert [row["iteration"] for row in read_rows(folder / "history.csv")][:2] == ["0", "1"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take away the right to write; the superuser keeps it, and gets a read-only mount instead."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mount = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this superuser may not mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True, capture_output=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_run_folder_is_told(
    world: World, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "runs"))
    folder = root / "version_0"
    before = content(folder)
    with read_only(folder), pytest.raises(SystemExit) as ended:
        go_on(world, root)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "Make the" in told
    assert str(folder) in told
    assert content(folder) == before


def test_a_file_in_the_place_of_the_folder_of_runs_is_told(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, tmp_path / "runs"), "fit", tmp_path)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert str(tmp_path / "runs") in told
    assert "Traceback" not in told
    assert (tmp_path / "runs").read_text() == "mine"


def test_limits_on_files_hold_in_the_forked_process_only() -> None:
    limits: tuple[Any, Any] = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert limits[0] == resource.RLIM_INFINITY
