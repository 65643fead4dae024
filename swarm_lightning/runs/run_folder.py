"""Where a run keeps its files, so that a second run never touches the first and `last` means what it says.

A run folder is `<root>/version_<k>`; its checkpoints lie in `checkpoints/`. Everything else in it is written by the
callbacks.
"""

import os
import re
import zipfile
from contextlib import suppress
from pathlib import Path

from swarm_lightning.errors import InputError
from swarm_lightning.files import storage_errors

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
CONFIG = "config.yaml"
HISTORY = "history.csv"
LONG_HISTORY = "history.parquet"
SCORE_TABLES = "score_tables"
BY_OBJECTIVE = "by_objective.safetensors"  # among the score tables, where they are by a guide
SKETCHES = "sketches"
REPLIES = "replies"
NODES = "nodes.parquet"  # among the replies
RECORD = "run.json"
SUMMARY = "summary.json"
COMPARISON = "comparison.json"  # of swarm compare
RESULTS = "results"  # of its methods, a file each
SEARCHES = "model_swarm"  # of its ordinary searches, a folder each
SCORES = "scores.csv"  # of swarm score
PAGE = "report.html"
BEST_EXPERT = "best_expert"
# What keeps a run folder for one process; a killed one leaves it.
LOCK = ".lock"
VERSION = re.compile(r"version_(\d+)")
# Environment variable with the folder of the run, for the processes that this one starts.
TAKEN = "SWARM_RUN_FOLDER"


def name_of_export(particle: int | None) -> str:
    """Return the name of the folder that a particle's personal best is exported to; None is the best found expert.

    >>> name_of_export(None), name_of_export(3)
    ('best_expert', 'particle_3')
    """
    return BEST_EXPERT if particle is None else f"particle_{particle}"


def next_run_folder(root: str | Path) -> Path:
    """Return the first version that no earlier run has taken; nothing is created.

    The further ranks that a process starts on its machine take the folder that it has taken: when they ask, it may
    exist already.

    Args:
        root: Folder of the runs of one search.

    Returns:
        `<root>/version_<k>` with k above that of every existing version.
    """
    taken = os.environ.pop(TAKEN, None) if os.environ.get("LOCAL_RANK", "0") != "0" else None
    if taken is not None and Path(taken).parent == Path(root):
        return Path(taken)
    folder = Path(root) / f"version_{max(_versions(Path(root)), default=-1) + 1}"
    os.environ[TAKEN] = str(folder)
    return folder


def claim_run_folder(root: str | Path) -> Path:
    """Make the first version that no earlier run has taken: of two runs that start at once, each gets its own.

    Args:
        root: Folder of the runs of one search.

    Returns:
        The new, empty folder.

    Raises:
        StorageError: If it can't be made.
    """
    while True:
        folder = next_run_folder(root)
        with storage_errors(folder), suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder


def of_iteration(folder: Path, kind: str, iteration: int) -> Path:
    """Return the file of an iteration, of those of which each iteration has its own.

    Args:
        folder: The run folder.
        kind: `score_tables` or `sketches`.
        iteration: 0 for the first positions.
    """
    return folder / kind / f"iteration_{iteration:04d}.safetensors"


def iterations_of(folder: Path, kind: str) -> dict[int, Path]:
    """Return the files that `of_iteration` names and that are there, by their iteration, in order.

    Args:
        folder: The run folder.
        kind: `score_tables` or `sketches`.
    """
    found = (folder / kind).glob("iteration_*.safetensors")
    return dict(sorted((int(path.stem.rpartition("_")[2]), path) for path in found))


def has_iterations(folder: Path) -> bool:
    """Tell whether a search in a folder has done an iteration, by its `history.csv`."""
    path = folder / HISTORY
    rows = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    return any(row.split(",")[0] not in ("", "0") for row in rows)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing but empty folders, and leave any other as it is."""
    if not folder.is_dir() or any(not entry.is_dir() for entry in folder.rglob("*")):
        return
    for entry in [*sorted(folder.rglob("*"), reverse=True), folder]:  # the deepest first
        with suppress(FileNotFoundError):  # several processes of one run may do the same
            entry.rmdir()


def free_path(path: Path) -> Path:
    """Return the path itself, or with a number before its suffix where it is taken.

    >>> free_path(Path("no_such_folder/test.csv")).name
    'test.csv'
    """
    candidate, number = path, 1
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}_{number}{path.suffix}")
        number += 1
    return candidate


def find_checkpoint(source: str, root: str | Path) -> Path:
    """Find the checkpoint that a user means.

    Args:
        source: `last`, for the newest run below `root` that has one; a checkpoint; or a run folder.
        root: Folder of the runs, searched for `last`. A run folder itself is fine too.

    Returns:
        Path of the checkpoint file.

    Raises:
        InputError: If there is none.
    """
    if source == "last":
        for folder in _runs(root):
            if (folder / CHECKPOINTS / LAST).is_file():
                return _whole(folder / CHECKPOINTS / LAST)
        raise InputError(
            f"Expected a run with {CHECKPOINTS}/{LAST} below {str(root)!r} (trainer.default_root_dir) for "
            "--ckpt_path last, but there is none. Leave --ckpt_path out to start a new search, or give the path."
        )
    path = Path(source)
    if path.is_dir():
        path = path / CHECKPOINTS / LAST
    if not path.is_file():
        raise InputError(
            f"Expected --ckpt_path to be 'last', a checkpoint file or a run folder, but {str(path)!r} is not there."
        )
    return _whole(path)


def find_begun(source: str, root: str | Path) -> Path | None:
    """Find the run folder that a user means where its search was ended before it could save its first positions.

    Args:
        source: What `find_checkpoint` takes.
        root: Folder of the runs.

    Returns:
        The folder, without a checkpoint, and without a config where it was ended even before that was written; None
        where what is meant has a checkpoint, or is not there.
    """
    named = [*_runs(root)] if source == "last" else [Path(source)]
    for folder in named:
        if (folder / CHECKPOINTS / LAST).is_file():
            return None
        if is_untouched(folder) or ((folder / CONFIG).is_file() and not has_iterations(folder)):
            return folder
    return None


def is_untouched(folder: Path) -> bool:
    """Tell whether a folder is that of a run which was ended before it wrote anything."""
    if not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir()}
    return names == {LOCK} or (not names and VERSION.fullmatch(folder.name) is not None)


def newer_than(folder: Path) -> list[Path]:
    """Return the runs beside a run that were begun later, the oldest first."""
    found = VERSION.fullmatch(folder.name)
    if found is None:
        return []
    return [folder.parent / f"version_{k}" for k in sorted(_versions(folder.parent)) if k > int(found.group(1))]


def run_folder_of(checkpoint: Path) -> Path:
    """Return the run folder that a checkpoint belongs to: the one that holds its `checkpoints` folder."""
    folder = checkpoint.parent if checkpoint.parent.name else checkpoint.resolve().parent
    return folder.parent if folder.name == CHECKPOINTS else folder


def _whole(path: Path) -> Path:
    if not zipfile.is_zipfile(path):  # what torch.save writes; a file that was cut short is none
        raise InputError(f"Expected a checkpoint, but {str(path)!r} is not one, or is incomplete. Give another one.")
    return path


def _runs(root: str | Path) -> list[Path]:
    """Return the folder itself and the run folders in it, the newest first."""
    versions = sorted(_versions(Path(root)), reverse=True)
    return [Path(root), *(Path(root) / f"version_{version}" for version in versions)]


def _versions(root: Path) -> list[int]:
    if not root.is_dir():
        return []
    matches = (VERSION.fullmatch(entry.name) for entry in root.iterdir())
    return [int(match.group(1)) for match in matches if match]
