"""Files and folders that appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from swarm_lightning.errors import StorageError
from swarm_lightning.files import LEFTOVER, remove_leftovers, whole_file, whole_folder, write_whole


def test_a_file_keeps_its_old_content_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    write_whole(path, "old")
    with whole_file(path) as partial:
        partial.write_text("ne")
        assert path.read_text() == "old"
        assert partial.parent == path.parent, "a rename between two disks is a copy"
        partial.write_text("new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["numbers.csv"]


def test_a_file_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    write_whole(path, b"old")

    def fail() -> None:
        with whole_file(path) as partial:
            partial.write_text("ne")
            raise KeyError("half way")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["numbers.csv"]


def test_a_full_disk_is_told_with_the_place_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    write_whole(path, "old")

    def fill() -> None:
        with whole_file(path), Path("/dev/full").open("wb", buffering=0) as disk:
            disk.write(b"new")

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StorageError, match="No space left on device. Free some space") as told:
        fill()
    assert str(path) in str(told.value)
    assert "--ckpt_path" in str(told.value)
    assert path.read_text() == "old"


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Its folder has vanished"):
        write_whole(tmp_path / "gone" / "numbers.csv", "1")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:  # as on a file system without it
        monkeypatch.setattr("swarm_lightning.files._exchange", lambda one, other: False)
    folder = tmp_path / "expert"
    for content in ("old", "new"):
        with whole_folder(folder) as partial:
            (partial / "weights").write_text(content)
            assert not folder.exists() or (folder / "weights").read_text() == "old"
        assert (folder / "weights").read_text() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["expert"]


def test_the_place_of_a_folder_is_never_empty_while_it_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "expert"
    folder.mkdir()
    (folder / "weights").write_text("old")
    with whole_folder(folder) as partial:
        (partial / "weights").write_text("new")
        inode = folder.stat().st_ino
    assert folder.stat().st_ino != inode
    assert (folder / "weights").read_text() == "new"


def test_what_a_killed_process_has_left_is_swept_up_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    kept = [
        tmp_path / "run" / ".lock",
        tmp_path / "run" / ".notes.partial",
        tmp_path / "run" / "checkpoints" / "a.ckpt",
    ]
    for path in kept:
        path.write_text("kept")
    (tmp_path / "run" / "checkpoints" / ".a.ckpt.0123abcd.partial").write_text("half")
    (tmp_path / "run" / ".best_expert.0123abcd.partial" / "deep").mkdir(parents=True)
    (tmp_path / "run" / ".best_expert.4567cdef.replaced").mkdir()
    (tmp_path / "run" / ".best_expert.4567cdef.replaced" / "weights").write_text("old")
    remove_leftovers(tmp_path / "run")
    files = {path for path in (tmp_path / "run").rglob("*") if path.is_file()}
    # The old expert had been taken away and the new one had not come: it is back.
    assert files == {*kept, tmp_path / "run" / "best_expert" / "weights"}
    remove_leftovers(tmp_path / "nowhere")


def test_an_old_folder_whose_successor_has_come_is_removed(tmp_path: Path) -> None:
    for name, content in (("expert", "new"), (".expert.4567cdef.replaced", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(content)
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["expert"]
    assert (tmp_path / "expert" / "weights").read_text() == "new"


@pytest.mark.parametrize(
    "name", ["a.partial", ".a.partial", ".a.0123abcg.partial", ".a.0123abcd.partial.csv", "a.0123"]
)
def test_names_that_are_not_ours_are_not_leftovers(name: str) -> None:
    assert not LEFTOVER.fullmatch(name)


def test_other_errors_of_the_system_keep_their_words(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_file(tmp_path / "x"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
        fail()


def test_every_file_of_a_folder_may_be_read_by_those_who_may_read_the_folder(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_folder(tmp_path / "new") as partial:
            (partial / "card").write_text("open")
            os.close(os.open(partial / "weights", os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors makes its files
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert modes == {"card": 0o640, "weights": 0o640}
