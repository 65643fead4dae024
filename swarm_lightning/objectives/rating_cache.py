"""Keeps what a judge has answered, so that the same question is never paid for twice.

One SQLite file, shared by threads, by the ranks of a run and by all runs on one machine; in write-ahead mode, except
on a network file system. An answer is written as soon as it comes. Who is about to ask something claims it first; all
others wait for the answer instead of asking the same, and take over where the one who asks has given up or is dead.
Questions are kept as digests only.
"""

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from swarm_lightning.errors import InputError
from swarm_lightning.paths import cache_folder

FILE = "ratings.sqlite"
FORMAT = 1
BUSY_SECONDS = 60.0  # how long to wait while another process writes
# Types of file systems that several machines may share.
NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "gpfs", "lustre"}
    | {"nfs", "nfs4", "panfs", "smb3", "smbfs"}
)
POLL_SECONDS = 0.02  # between two looks for an answer that somebody else is asking for
SCHEMA = """
    CREATE TABLE answers (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
"""
ANSWER = "SELECT text FROM answers WHERE key = ?"
OWNER = "SELECT owner FROM claims WHERE key = ?"


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """The call was asked to end while it waited."""


def default_folder() -> Path:
    """Return the folder for all runs of a user: below XDG_CACHE_HOME, or `~/.cache`."""
    return cache_folder()


class RatingCache:
    """Answers by key, in a file that any number of processes on one machine may share.

    Attributes:
        path: The file.
    """

    def __init__(self, folder: Path) -> None:
        """Open the file, or make it.

        Args:
            folder: Where it lies; made if it is not there.

        Raises:
            InputError: If the file can't be read or written, or is no cache of ratings.
        """
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._owner = _this_process()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        # Transactions are begun and ended by hand; one connection for all threads, used by one at a time.
        with self._errors():
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        with self._errors():
            self._prepare()

    def fetch(self, key: str, ask: Callable[[], str], stop: threading.Event) -> str:
        """Return an answer; it is asked for where nobody has asked before.

        Args:
            key: What is asked, as a digest.
            ask: Asks; called at most once, and by no two threads or processes for one key at the same time.
            stop: Ends the waiting for the answer of another thread or process.

        Returns:
            The answer.

        Raises:
            Stopped: If `stop` was set while this call waited.
            InputError: If the file can't be read or written.
        """
        while True:
            known, claimed = self._look(key)
            if known is not None:
                return known
            if claimed:
                break
            if stop.wait(POLL_SECONDS):
                raise Stopped
        try:
            answer = ask()
        except BaseException:
            with self._transaction() as connection:
                connection.execute("DELETE FROM claims WHERE key = ?", (key,))
            raise
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, answer))
            connection.execute("DELETE FROM claims WHERE key = ?", (key,))
            return _text(connection, ANSWER, key) or answer  # the first that was written stands for all

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _look(self, key: str) -> tuple[str | None, bool]:
        """Return the answer where it is known, and else whether this call is the one to ask for it."""
        with self._lock, self._errors():
            known, free = self._state(key)
        if known is not None or not free:
            return known, False
        with self._transaction() as connection:
            known, free = self._state(key)
            if known is None and free:
                connection.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (key, self._owner))
            return known, known is None and free

    def _state(self, key: str) -> tuple[str | None, bool]:
        """Return the answer where it is known, and whether nobody asks for it at present."""
        known = _text(self._connection, ANSWER, key)
        owner = None if known is not None else _text(self._connection, OWNER, key)
        return known, owner is None or not _is_alive(owner)

    def _prepare(self) -> None:
        with self._transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version == 0 and tables == 0:
                for statement in filter(str.strip, SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            elif version != FORMAT:
                raise sqlite3.DatabaseError(f"it is another database, or one of format {version}")
        # Write-ahead mode needs memory that all share, which machines do not have: it could break the file there.
        mode = "DELETE" if is_on_network(self.path.resolve(), _mounts()) else "WAL"
        self._patiently(f"PRAGMA journal_mode = {mode}")
        # NORMAL loses nothing when the process is killed.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        check = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise sqlite3.DatabaseError(str(check))

    def _patiently(self, statement: str) -> None:
        """Execute what SQLite refuses at once, without waiting, while another process does the same."""
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._connection.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(POLL_SECONDS)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> InputError:
        return InputError(
            f"Expected a cache of ratings that can be read and written at {str(self.path)!r}, but {error}. Its ratings "
            "were paid for, so it is left untouched: repair the file or its folder, move it away to start a new one, "
            "or name another folder with `cache`."
        )


def is_on_network(path: Path, mounts: Mapping[str, str]) -> bool:
    """Tell whether a path lies on a file system that several machines may share.

    Args:
        path: An absolute path.
        mounts: The type of the file system at each place where one is mounted.

    >>> is_on_network(Path("/home/me/cache"), {"/": "ext4", "/home": "nfs4", "/home/you": "ext4"})
    True
    """
    above = [folder for folder in map(str, (path, *path.parents)) if folder in mounts]  # the deepest first
    return bool(above) and mounts[above[0]] in NETWORK


def _mounts() -> dict[str, str]:
    import psutil

    return {partition.mountpoint: partition.fstype for partition in psutil.disk_partitions(all=True)}


def _text(connection: sqlite3.Connection, query: str, key: str) -> str | None:
    row = connection.execute(query, (key,)).fetchone()
    return None if row is None else str(row[0])


def _this_process() -> str:
    import psutil

    return f"{os.getpid()} {psutil.Process().create_time():.0f} {socket.gethostname()}"


def _is_alive(owner: str) -> bool:
    """Tell whether a process on this machine still runs; of other machines nothing is known, and nobody waits."""
    import psutil

    number, started, host = owner.split(" ", 2)
    try:
        found = psutil.Process(int(number)).create_time()
    except psutil.Error:
        return False
    # The time comes from the clock, which may have been set since.
    return host == socket.gethostname() and abs(found - float(started)) < 2
