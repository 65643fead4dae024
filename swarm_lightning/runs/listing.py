"""What the small files in run folders say about their runs: `run.json`, `summary.json`, `history.csv` and the lock.

No checkpoint is opened and nothing is written, so running searches can be listed too.
"""

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm_lightning.errors import InputError
from swarm_lightning.runs.run_folder import (
    CHECKPOINTS,
    COMPARISON,
    CONFIG,
    HISTORY,
    LAST,
    LOCK,
    SCORES,
    SUMMARY,
    VERSION,
)
from swarm_lightning.runs.run_record import is_held, read_record

UTILITY = "utility/particle_"
ENDS = ("ended", "interrupted", "failed")  # what a record can say about a run that no process is working on
OTHERS = {COMPARISON: "compared", SCORES: "scored"}  # by their files: folders of commands other than a search


@dataclass(frozen=True)
class ListedRun:
    """What a run folder says about its run.

    Attributes:
        folder: The run folder.
        state: `running` while a process holds the folder; `ended`, `interrupted` (Ctrl-C, SIGTERM, SIGUSR1) or `failed`
            according to its record; `stopped` if it was killed and has a checkpoint to resume from, `begun` if it was
            killed before its first one. `compared` and `scored`: the folder of a `swarm compare` or a `swarm score`.
        iterations: Number of finished iterations.
        validation: Best utility found on the validation split; None before the first evaluation.
        test: The best found expert's utility on the test split; None if it was not scored.
        gain: The difference to the best initial expert's, and the low and high end of its 95% interval; None without
            test scores.
        within_noise: Whether the interval contains 0.
        changed: When its newest file was written, in seconds since 1970 (UTC).
    """

    folder: Path
    state: str
    iterations: int
    validation: float | None
    test: float | None
    gain: tuple[float, float, float] | None
    within_noise: bool
    changed: float


@dataclass(frozen=True)
class Ranked:
    """The personal best of a particle.

    Attributes:
        particle: Its index, counted from 0.
        utility: Utility of its personal best on the validation split.
        iteration: The iteration that found it; 0 for the first positions.
    """

    particle: int
    utility: float
    iteration: int


def list_runs(root: Path) -> list[ListedRun]:
    """Read all runs in and below a folder, newest first.

    Args:
        root: Any folder, such as `runs`.

    Raises:
        InputError: If there is no such folder, or a file in it can't be read.
    """
    if not root.is_dir():
        raise InputError(
            f"Expected a folder with runs, but {str(root)!r} does not exist. Give the one set as "
            "trainer.default_root_dir."
        )
    return sorted((read_run_state(folder) for folder in _run_folders(root)), key=lambda run: -run.changed)


def is_run(folder: Path) -> bool:
    """Tell whether a folder is the run folder of a search, a comparison or of scores."""
    marks = (HISTORY, *OTHERS)
    return any((folder / mark).is_file() for mark in marks) or (
        VERSION.fullmatch(folder.name) is not None and _begun(folder)
    )


def read_run_state(folder: Path) -> ListedRun:
    """Read how far a run has come and what it has found.

    Args:
        folder: A run folder.

    Raises:
        InputError: If its summary or its history can't be read.
    """
    summary, rows, record = _summary(folder), _rows(folder), read_record(folder)
    found = _found(summary, "validation")
    best = _number(rows[-1].get("global_best")) if rows else None
    gain = _found(summary, "test").get("gain")
    return ListedRun(
        folder=folder,
        state=_state(folder, record),
        iterations=int(rows[-1]["iteration"]) if rows else 0,
        validation=found.get("utility", best),
        test=_found(summary, "test").get("utility"),
        gain=None if gain is None else (gain["difference"], gain["low"], gain["high"]),
        within_noise=bool(gain and gain["within_noise"]),
        changed=max(entry.stat().st_mtime for entry in (folder, *folder.iterdir())),
    )


def rank_particles(folder: Path) -> list[Ranked]:
    """Rank the particles of a run by personal best, best first; of equals, the one found earlier.

    A utility that the exact stop left open is never above the personal best, so the known ones suffice.

    Args:
        folder: The run folder of a search.

    Raises:
        InputError: If its history can't be read or has no particles.
    """
    bests: dict[int, Ranked] = {}
    for row in _rows(folder):
        for name, cell in row.items():
            utility = _number(cell) if name.startswith(UTILITY) else None
            if utility is None:
                continue
            particle = int(name.removeprefix(UTILITY))
            if particle not in bests or utility > bests[particle].utility:
                bests[particle] = Ranked(particle, utility, int(row["iteration"]))
    if not bests:
        raise InputError(
            f"Expected a run with particles, but {str(folder)!r} has none in its {HISTORY}: it has not evaluated any "
            "yet, it is an evolution strategy, which has a single centre, or it is not a search."
        )
    return sorted(bests.values(), key=lambda ranked: (-ranked.utility, ranked.iteration, ranked.particle))


def _run_folders(root: Path) -> Iterator[Path]:
    for place, folders, _ in os.walk(root):
        if is_run(Path(place)):
            yield Path(place)
            folders.clear()
        folders.sort()


def _begun(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or (folder / LOCK).is_file()


def _state(folder: Path, record: Mapping[str, Any]) -> str:
    if is_held(folder):
        return "running"
    if record.get("state") in ENDS:
        return str(record["state"])
    if not record and (folder / SUMMARY).is_file():  # written by a version without records
        return "ended"
    for mark, state in OTHERS.items():
        if (folder / mark).is_file() and not (folder / HISTORY).is_file():
            return state
    return "stopped" if (folder / CHECKPOINTS / LAST).is_file() else "begun"


def _found(summary: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    """Return the row of the best found expert, the last of a split."""
    rows = summary.get(split) or [{}]
    return dict(rows[-1])


def _summary(folder: Path) -> Mapping[str, Any]:
    path = folder / SUMMARY
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"Expected the summary of a run in {str(path)!r}, but it can't be read: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"Expected the summary of a run in {str(path)!r}, but it is no JSON object.")
    return content


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / HISTORY
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if (row.get("iteration") or "").isdigit() and None not in row.values()]


def _number(cell: str | None) -> float | None:
    """Read a cell; None for an empty one, and for what is no number."""
    try:
        value = float(cell or "nan")
    except ValueError:
        return None
    return None if math.isnan(value) else value
