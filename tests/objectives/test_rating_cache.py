"""One file, many threads and processes: each answer is asked for once, and none is lost."""

import json
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.objectives import rating_cache
from swarm_lightning.objectives.rating_cache import FILE, RatingCache, Stopped, default_folder, is_on_network

NEVER = threading.Event()
ASKING = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from swarm_lightning.objectives.rating_cache import RatingCache
print("ready", flush=True)
sys.stdin.readline()
cache, asked = RatingCache(Path(sys.argv[1])), []
def fetch(number):
    def ask():
        asked.append(number)
        return f"answer {number}"
    return cache.fetch(str(number), ask, threading.Event())
with ThreadPoolExecutor(4) as threads:
    answers = list(threads.map(fetch, range(int(sys.argv[2]))))
print(json.dumps([asked, answers]))
"""
DYING = """
import os, sys, threading
from pathlib import Path
from swarm_lightning.objectives.rating_cache import RatingCache
cache = RatingCache(Path(sys.argv[1]))
cache.fetch("paid", lambda: "seven", threading.Event())
cache.fetch("in flight", lambda: os._exit(9), threading.Event())
"""


def refuse() -> str:
    raise AssertionError("this was asked before")


def test_what_was_asked_once_is_never_asked_again_by_another_object(tmp_path: Path) -> None:
    cache = RatingCache(tmp_path)
    assert cache.fetch("key", lambda: "a \u2603 in \0 text", NEVER) == "a \u2603 in \0 text"
    assert cache.fetch("key", refuse, NEVER) == "a \u2603 in \0 text"
    assert RatingCache(tmp_path).fetch("key", refuse, NEVER) == "a \u2603 in \0 text"
    cache.close()


def test_threads_that_ask_the_same_at_once_wait_for_one_answer(tmp_path: Path) -> None:
    caches, asked, go_on = [RatingCache(tmp_path), RatingCache(tmp_path)], [], threading.Event()

    def ask() -> str:
        asked.append(threading.get_ident())
        go_on.wait(10)
        return "seven"

    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(caches[place % 2].fetch, "key", ask, NEVER) for place in range(8)]
        go_on.set()
        assert {answer.result() for answer in waiting} == {"seven"}
    assert len(asked) == 1


def test_processes_that_ask_the_same_at_once_share_the_work(tmp_path: Path) -> None:
    count = 100
    command = [sys.executable, "-c", ASKING, str(tmp_path), str(count)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    found = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate(timeout=60)
        found.append(json.loads(out))
    assert sorted(number for asked, _ in found for number in asked) == list(range(count))
    assert all(answers == [f"answer {number}" for number in range(count)] for _, answers in found)


def test_a_killed_process_loses_what_was_in_flight_and_nothing_else(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], check=False).returncode == 9
    cache = RatingCache(tmp_path)
    assert cache.fetch("paid", refuse, NEVER) == "seven"
    assert cache.fetch("in flight", lambda: "eight", NEVER) == "eight"  # nobody waits for the dead


def test_a_failure_is_not_kept_and_the_next_may_ask(tmp_path: Path) -> None:
    cache = RatingCache(tmp_path)
    with pytest.raises(AssertionError):
        cache.fetch("key", refuse, NEVER)
    assert cache.fetch("key", lambda: "seven", NEVER) == "seven"


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    cache, begun, go_on, stop = RatingCache(tmp_path), threading.Event(), threading.Event(), threading.Event()

    def ask() -> str:
        begun.set()
        go_on.wait(10)
        return "seven"

    with ThreadPoolExecutor(2) as threads:
        asking = threads.submit(cache.fetch, "key", ask, NEVER)
        begun.wait(10)
        waiting = threads.submit(cache.fetch, "key", refuse, stop)
        stop.set()
        with pytest.raises(Stopped):
            waiting.result()
        go_on.set()
        assert asking.result() == "seven"


@pytest.mark.parametrize("damage", ["no database", "cut off", "another database", "another format"])
def test_a_broken_file_is_refused_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FILE
    if damage == "no database":
        path.write_bytes(b"ratings, believe me" * 100)
    elif damage == "another database":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE notes (text TEXT)")
    else:
        cache = RatingCache(tmp_path)
        for number in range(200):
            cache.fetch(str(number), lambda: "a long answer " * 20, NEVER)
        cache.close()
        if damage == "cut off":
            content = bytearray(path.read_bytes())
            content[4096:] = b"\xff" * (len(content) - 4096)
            path.write_bytes(content)
        else:
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA user_version = 99")
            connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="cache of ratings") as refused:
        RatingCache(tmp_path)
    assert str(path) in str(refused.value)
    assert path.read_bytes() == before


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="name another folder with `cache`"):
        RatingCache(tmp_path / "file")


def test_a_network_file_system_is_told_by_the_deepest_mount() -> None:
    mounts = {"/": "ext4", "/home": "nfs4", "/home/me/disk": "xfs", "/scratch": "lustre"}
    places = ("/tmp/x", "/home/me/.cache", "/home/me/disk/x", "/scratch", "/homes/x")
    assert [is_on_network(Path(place), mounts) for place in places] == [False, True, False, True, False]


def test_the_file_is_in_write_ahead_mode_but_not_on_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mode() -> str:
        cache = RatingCache(tmp_path)
        assert cache.fetch("key", lambda: "seven", NEVER) == "seven"
        cache.close()
        with closing(sqlite3.connect(tmp_path / FILE)) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    assert mode() == "wal"
    monkeypatch.setattr(rating_cache, "_mounts", lambda: {"/": "nfs4"})
    assert mode() == "delete"


def test_the_default_folder_is_that_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "swarm-lightning"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "swarm-lightning"
