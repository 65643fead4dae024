"""What is known of runs from the small files in their folders: `run.json`, `summary.json`, `history.csv`, the lock.

No checkpoint is opened and nothing is written, so that runs that are going on can be looked at too.
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
from swarm_lightning.runs.run_folder import CHECKPOINTS, CONFIG, HISTORY, LAST, LOCK, SUMMARY, VERSION
from swarm_lightning.runs.run_record import is_held, read_record

UTILITY = "utility/particle_"
ENDS = ("ended", "interrupted", "failed")  # what a record can say of a run that nobody goes on with


@dataclass(frozen=True)
class Run:
    """One run, as its folder tells it.

    Attributes:
        folder: Its folder.
        state: `running` while a process holds the folder; `ended`, `interrupted` or `failed` as its record says; else
            `stopped` where it can be resumed, or `begun` without a checkpoint.
        iterations: Iterations done.
        validation: Best utility found on the validation split; None before the first evaluation.
        test: The best found expert's utility on the test split, where it was scored.
        gain: By how much that is above the best initial expert's, with the ends of its 95% interval.
        within_noise: Whether the interval contains 0.
        changed: When its newest file was written, in seconds since 1970.
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
        particle: Which one, counted from 0.
        utility: Of its personal best, on the validation split.
        iteration: When it was found.
    """

    particle: int
    utility: float
    iteration: int


def list_runs(root: Path) -> list[Run]:
    """Read all runs in and below a folder, the newest first.

    Args:
        root: A folder.

    Raises:
        InputError: If there is no such folder, or a file in it can't be read.
    """
    if not root.is_dir():
        raise InputError(
            f"Expected a folder with runs, but there is none at {str(root)!r}. Name that of trainer.default_root_dir."
        )
    return sorted((read_run_state(folder) for folder in _run_folders(root)), key=lambda run: -run.changed)


def is_run(folder: Path) -> bool:
    """Tell whether a folder is that of a run of `swarm fit`."""
    return (folder / HISTORY).is_file() or (VERSION.fullmatch(folder.name) is not None and _begun(folder))


def read_run_state(folder: Path) -> Run:
    """Read how far a run has come and what came out.

    Args:
        folder: Of a run.

    Raises:
        InputError: If its summary or its history can't be read.
    """
    summary, rows, record = _summary(folder), _rows(folder), read_record(folder)
    found = _found(summary, "validation")
    best = _number(rows[-1].get("global_best")) if rows else None
    gain = _found(summary, "test").get("gain")
    return Run(
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
    """Rank the particles of a run by their personal bests, the best first; of equals, the one found earlier.

    A utility that was left open is not above the personal best, so the known ones tell it.

    Args:
        folder: Of a run.

    Raises:
        InputError: If its history can't be read, or tells of no particles.
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
            f"Expected a run with particles, but the {HISTORY} of {str(folder)!r} tells of none: it has not evaluated "
            "any yet, or it searched with an evolution strategy, which has one centre."
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
    if (folder / SUMMARY).is_file():
        return "ended"
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
