"""Locks between processes."""

import threading
from pathlib import Path

from swarm_lightning.locks import lock, lock_if_free


def test_a_lock_is_taken_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "made" / "lock"
    with lock_if_free(path) as first, lock_if_free(path) as second:
        assert (first, second) == (True, False)
    with lock_if_free(path) as free:
        assert free


def test_who_has_waited_for_a_file_that_was_removed_locks_the_one_that_others_lock(tmp_path: Path) -> None:
    path, taken, done = tmp_path / "lock", threading.Event(), threading.Event()

    def wait() -> None:
        with lock(path):
            taken.set()
            done.wait(60)

    waiting = threading.Thread(target=wait)
    with lock(path):
        waiting.start()
        waiting.join(0.3)  # it has opened the file by then
        assert not taken.is_set()
        path.unlink()
    assert taken.wait(60)
    with lock_if_free(path) as free:
        assert not free
    done.set()
    waiting.join()
