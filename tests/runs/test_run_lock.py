"""One process searches in a run folder, and nobody is kept out by one that is dead."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.runs.run_lock import LOCK, hold_run
from tests.search.tiny_search import World, content, run_swarm


@contextmanager
def held_by_another(folder: Path) -> Iterator[int]:
    """Let another process hold a folder, and end it by SIGKILL; yields its id."""
    told, tell = os.pipe()
    process = os.fork()
    if process == 0:
        hold_run(folder)
        os.write(tell, b"held")
        signal.pause()
        os._exit(0)
    try:
        os.close(tell)
        assert os.read(told, 10) == b"held"
        yield process
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(told)


def test_a_folder_in_use_is_refused_by_name_and_free_once_its_process_is_killed(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = world.config(tmp_path / "runs", trainer={"max_steps": 1})
    run_swarm(config, "fit", tmp_path)
    folder = tmp_path / "runs" / "version_0"
    assert not (folder / LOCK).exists()
    before = content(folder)
    with held_by_another(folder) as other:
        with pytest.raises(SystemExit) as ended:
            run_swarm(config, "fit", tmp_path, "--ckpt_path", "last")
        assert ended.value.code == 2
        assert f"in use by process {other}" in capsys.readouterr().err
        assert {name: data for name, data in content(folder).items() if name != LOCK} == before
        # Others may read it, and a new search gets a folder of its own.
        run_swarm(config, "test", tmp_path, "--ckpt_path", str(folder))
        run_swarm(config, "fit", tmp_path)
        assert (tmp_path / "runs" / "version_1" / "summary.json").exists()
    assert (folder / LOCK).exists(), "a killed process can't tidy up"
    run_swarm(config, "fit", tmp_path, "--ckpt_path", str(folder))
    assert not (folder / LOCK).exists()


def test_a_process_may_hold_a_folder_several_times(tmp_path: Path) -> None:
    first, second = hold_run(tmp_path), hold_run(tmp_path)
    first.release()
    assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    second.release()
    assert not (tmp_path / LOCK).exists()


def test_a_forked_process_has_no_part_in_the_lock(tmp_path: Path) -> None:
    lock = hold_run(tmp_path)
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        lock.release()
        with held_by_another(tmp_path):  # though the child still lives
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_folder_that_is_a_file_can_not_be_held(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="Expected to write"):
        hold_run(tmp_path / "run")
