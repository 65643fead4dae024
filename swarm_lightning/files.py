"""Writes files and folders whole or not at all: whoever is killed in between leaves what was there before.

Everything is written under a hidden name beside its place (another folder may be another disk, where a move is a copy
that can be cut short), forced to the disk, and renamed. What a killed process has left is swept up at the next start.
"""

import ctypes
import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swarm_lightning.errors import StorageError

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.(partial|replaced)")
ADVICE = {
    errno.ENOSPC: "Free some space on that disk",
    errno.EDQUOT: "Free some of your quota on that disk",
    errno.EFBIG: "Raise the limit on the size of files",
    errno.EROFS: "Make the disk writable again",
    errno.EACCES: "Make the folder writable",
    errno.EPERM: "Make the folder writable",
    errno.ENOENT: "Its folder has vanished: bring it back, or mount its disk again",
    errno.ENOTDIR: "Something else stands in the place of a folder: move it away",
    errno.EISDIR: "A folder stands in the place of the file: move it away",
}
RENAME_EXCHANGE = 2  # of renameat2, Linux
AT_THIS_FOLDER = -100


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the errors of the operating system in a `with` block into one that says what to do.

    Args:
        path: What is written there.

    Raises:
        StorageError: If the disk is full, the folder is read-only or gone, ...
    """
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "See to the disk")
        raise StorageError(
            f"Expected to write {str(path)!r}, but: {error.strerror or error}. {advice}. Earlier files are intact: "
            "resume a search with --ckpt_path."
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lend a hidden name; what a `with` block has written there becomes the file when the block ends.

    Args:
        path: The file; it stays as it was until the new one is complete. Its folder must be there.

    Yields:
        Where to write.

    Raises:
        StorageError: If it can't be written; nothing is left behind then.
    """
    partial = _hidden(path, "partial")
    try:
        with storage_errors(path):
            yield partial
            _force(partial)
            os.replace(partial, path)
            _force(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file; its folder must be there.
        content: Text is written as UTF-8.

    Raises:
        StorageError: If it can't be written.
    """
    with whole_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Lend a hidden empty folder; when a `with` block ends it takes the place of the folder, which may be there.

    Args:
        folder: It stays as it was until the new one is complete.

    Yields:
        Where to write.

    Raises:
        OSError: If it can't be written; nothing is left behind then.
    """
    partial = _hidden(folder, "partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        readable = partial.stat().st_mode & 0o666  # as the user's umask wants it; safetensors writes for the owner only
        for path in [*partial.rglob("*"), partial]:
            if path.is_file():
                path.chmod(readable)
            _force(path)
        _put_in_place(partial, folder)
        _force(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for path in _leftovers(folder.parent):  # an earlier export to this folder that was killed
        if path.name.startswith(f".{folder.name}."):
            shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left in a folder and below; nobody else may be writing there.

    An old folder that was taken away and whose successor never came is put back.
    """
    for path in [*_leftovers(folder), *(leftover for below in _folders(folder) for leftover in _leftovers(below))]:
        place = path.with_name(path.name[1:].rsplit(".", 2)[0])
        if path.suffix == ".replaced" and not place.exists():
            path.rename(place)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _hidden(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{kind}")


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_dir() and not LEFTOVER.fullmatch(path.name)]


def _leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if LEFTOVER.fullmatch(path.name)] if folder.is_dir() else []


def _force(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError:
        if not path.is_dir():  # not every file system can do it for folders
            raise
    finally:
        os.close(number)


def _put_in_place(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
    elif not _exchange(partial, folder):
        # A folder can't be renamed onto a full one. Between the two renames neither stands under the name, and the old
        # one is whole beside it: `sweep` puts it back.
        replaced = partial.with_suffix(".replaced")
        folder.rename(replaced)
        try:
            partial.rename(folder)
        except OSError:
            replaced.rename(folder)
            raise
        shutil.rmtree(replaced, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names at one instant; False where the system or the file system has no such thing."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    done: int = rename(AT_THIS_FOLDER, os.fsencode(one), AT_THIS_FOLDER, os.fsencode(other), RENAME_EXCHANGE)
    return done == 0
