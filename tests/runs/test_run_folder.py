"""Run folders: where the next run goes, and which checkpoint is meant."""

import zipfile
from pathlib import Path

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.runs.run_folder import (
    claim_run_folder,
    find_begun,
    find_checkpoint,
    free_path,
    has_iterations,
    next_run_folder,
    remove_if_empty,
    run_folder_of,
)


def put_checkpoint(folder: Path) -> Path:
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"")
    return path


def test_the_next_run_comes_after_the_highest_version_and_nothing_is_made(tmp_path: Path) -> None:
    assert next_run_folder(tmp_path / "none") == tmp_path / "none" / "version_0"
    for name in ("version_0", "version_10", "version_9", "version_x", "version_3_copy"):
        (tmp_path / name).mkdir()
    assert next_run_folder(tmp_path) == tmp_path / "version_11"
    assert not (tmp_path / "version_11").exists()


def test_a_rank_that_was_started_by_another_one_takes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = next_run_folder(tmp_path)
    taken.mkdir()  # by a logger, say, before the others ask
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert next_run_folder(tmp_path) == taken
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert next_run_folder(tmp_path) == tmp_path / "version_1"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert next_run_folder(tmp_path / "another") == tmp_path / "another" / "version_0"


def test_runs_that_start_at_once_get_a_folder_each(tmp_path: Path) -> None:
    folders = [claim_run_folder(tmp_path / "runs") for _ in range(3)]
    assert folders == [tmp_path / "runs" / f"version_{version}" for version in range(3)]
    assert all(folder.is_dir() for folder in folders)


def test_a_search_that_was_ended_before_its_first_checkpoint_is_found(tmp_path: Path) -> None:
    put_checkpoint(tmp_path / "version_2")
    assert find_begun("last", tmp_path) is None
    begun = tmp_path / "version_3"
    begun.mkdir()
    assert find_begun("last", tmp_path) == begun, "a kill can come before anything is written"
    (begun / "notes.txt").touch()
    assert find_begun("last", tmp_path) is None, "it holds something else than a run"
    (begun / "config.yaml").touch()
    for history in (None, "", "iteration,best", "iteration,best\n0", "iteration,best\n0,0.5\n"):
        if history is not None:
            (begun / "history.csv").write_text(history)
        assert not has_iterations(begun)
        assert find_begun("last", tmp_path) == find_begun(str(begun), "elsewhere") == begun
    (begun / "history.csv").write_text("iteration,best\n0,0.5\n1,0.5\n")  # its checkpoints lie somewhere else
    assert has_iterations(begun)
    assert find_begun("last", tmp_path) is None
    assert find_begun(str(begun), tmp_path) is None
    put_checkpoint(tmp_path / "version_4")
    assert find_begun("last", tmp_path) is None
    assert find_begun("nowhere", tmp_path) is None


def test_last_is_the_newest_run_that_has_a_checkpoint(tmp_path: Path) -> None:
    put_checkpoint(tmp_path / "version_2")
    newest = put_checkpoint(tmp_path / "version_10")
    (tmp_path / "version_11").mkdir()
    assert find_checkpoint("last", tmp_path) == newest
    assert find_checkpoint("last", tmp_path / "version_2").parents[1] == tmp_path / "version_2"


def test_a_checkpoint_is_found_by_its_path_or_its_run_folder(tmp_path: Path) -> None:
    path = put_checkpoint(tmp_path / "my run")
    assert find_checkpoint(str(path), "elsewhere") == path
    assert find_checkpoint(str(tmp_path / "my run"), "elsewhere") == path
    assert run_folder_of(path) == tmp_path / "my run"


def test_the_run_folder_of_a_checkpoint_outside_of_a_run_is_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_folder_of(tmp_path / "kept.ckpt") == tmp_path
    put_checkpoint(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run" / "checkpoints")
    assert run_folder_of(Path("last.ckpt")).resolve() == (tmp_path / "run").resolve()


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for source in ("last", str(tmp_path), str(tmp_path / "no.ckpt")):
        with pytest.raises(InputError):
            find_checkpoint(source, tmp_path)


def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = put_checkpoint(tmp_path / "version_0")
    path.write_bytes(path.read_bytes()[:-8])
    for source in ("last", str(path)):
        with pytest.raises(InputError, match="is incomplete"):
            find_checkpoint(source, tmp_path)


def test_a_taken_name_gets_the_next_number(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        path = free_path(tmp_path / "test.csv")
        path.touch()
        names.append(path.name)
    assert names == ["test.csv", "test_1.csv", "test_2.csv"]


def test_only_a_folder_without_files_is_removed(tmp_path: Path) -> None:
    (tmp_path / "empty" / "logs" / "version_0").mkdir(parents=True)
    (tmp_path / "full" / "logs").mkdir(parents=True)
    (tmp_path / "full" / "logs" / "metrics.csv").touch()
    for name in ("empty", "full", "missing"):
        remove_if_empty(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full" / "logs" / "metrics.csv").exists()
