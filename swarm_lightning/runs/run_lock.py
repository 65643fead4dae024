"""Keeps a run folder for one process: two that search in it would write over each other.

The lock is one of the operating system's on the file `.lock` in the folder. It ends with the process, however that
ends, so nothing stale can block the next one; the file itself means nothing and goes when the run ends in order.
"""

import errno
import fcntl
import os
import socket
import warnings
from contextlib import suppress
from pathlib import Path

from swarm_lightning.errors import InputError
from swarm_lightning.files import remove_leftovers, storage_errors
from swarm_lightning.runs.run_folder import LOCK

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
# Locks of this process by folder, each with how many parts of the process hold it.
_held: dict[Path, "RunLock"] = {}


class RunLock:
    """The right to write into a run folder; `hold_run` makes it.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, number: int) -> None:
        """Keep an open file that is locked.

        Args:
            path: Where it lies.
            number: Its descriptor.
        """
        self.path = path
        self.holders = 1
        self._number = number

    def release(self) -> None:
        """Let others have the folder, once every part of this process that held it has released it."""
        self.holders -= 1
        if self.holders == 0:
            del _held[self.path.parent]
            with suppress(OSError):
                self.path.unlink()  # while it is locked: who has opened it meanwhile sees that it is gone
            os.close(self._number)


def hold_run(folder: Path) -> RunLock:
    """Take a run folder for this process, and sweep up what a killed one has left half written in it.

    Args:
        folder: The run folder; made if it is not there.

    Returns:
        The lock, to be released in the end; this process may hold it already.

    Raises:
        InputError: If another process holds it.
        StorageError: If it can't be written to.
    """
    folder = folder.resolve()
    if folder in _held:
        _held[folder].holders += 1
        return _held[folder]
    path = folder / LOCK
    with storage_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        number = _lock(path)
        os.truncate(number, 0)
        os.write(number, f"process {os.getpid()} on {socket.gethostname()}".encode())
        remove_leftovers(folder)
    _held[folder] = RunLock(path, number)
    return _held[folder]


def held_here(folder: Path) -> bool:
    """Tell whether this process holds a run folder."""
    return folder.resolve() in _held


def _lock(path: Path) -> int:
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # A record lock: unlike that of flock, a process forked from this one has no part in it.
            fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(number, 200).decode(errors="replace")
            os.close(number)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise InputError(
                    f"Expected a run folder that nobody else uses, but {str(path.parent)!r} is in use by "
                    f"{holder or 'another process'}. Wait for it to finish, stop it, or start a new run without "
                    "--ckpt_path."
                ) from error
            if error.errno not in NO_LOCKS:
                raise
            warnings.warn(
                f"{path.parent} is on a disk without locks: make sure that only one search uses it.", stacklevel=4
            )
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(number), path.stat()):
                return number
        os.close(number)  # its holder has just gone, and the file with it
