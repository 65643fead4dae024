"""Compares two run folders: everything that a search finds and writes down, to the last bit.

Left out is what no two runs have in common: how long they took, where they lie, and Lightning's counters of its loops,
of which 2.6.6 counts one too many at a resume and which nothing reads.
"""

import csv
import json
from pathlib import Path
from typing import Any

TIMINGS = frozenset({"evaluation_seconds", "examples_per_second", "seconds"})
# When, where and how fast it was run; the page shows what the other files hold, beside these.
OWN = frozenset({"run.json", "report.html"})
OF_THE_RUN = ("dirpath", "best_model_path", "last_model_path", "seconds")


def differences(folder: Path, other: Path) -> list[str]:
    """Name the files in which two run folders differ, and what differs in them.

    Args:
        folder: A run folder.
        other: Another one.
    """
    ours, theirs = (
        {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file() and path.name not in OWN}
        for run in (folder, other)
    )
    found = [f"{name} is in one of them only" for name in sorted(ours.keys() ^ theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        first, second = content(ours[name]), content(theirs[name])
        if first != second:
            parts = [part for part in first.keys() | second.keys() if first.get(part) != second.get(part)]
            found.append(f"{name}: {', '.join(sorted(parts)[:5])}")
    return found


def content(path: Path) -> dict[str, Any]:
    """Return what a file of a run holds, by name, without what no two runs have in common.

    Args:
        path: A file in a run folder.
    """
    if path.suffix == ".ckpt":
        import torch

        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        del checkpoint["loops"]
        return {name: leaf for name, leaf in leaves(checkpoint).items() if not name.endswith(OF_THE_RUN)}
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {f"row {number}": without_timings(row) for number, row in enumerate(rows)}
    if path.name == "summary.json":
        return without_timings(json.loads(path.read_text(encoding="utf-8")))
    if path.name in ("config.yaml", "hparams.yaml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        return {"text": [line for line in lines if "default_root_dir" not in line and "ckpt_path" not in line]}
    return {"bytes": path.read_bytes()}


def without_timings(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the columns that say how long something took.

    Args:
        row: Values by column.
    """
    return {name: value for name, value in row.items() if name not in TIMINGS and not name.startswith("time/")}


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested mappings and lists; tensors become their bytes.

    Args:
        value: The content of a checkpoint.
        path: Where it stands.
    """
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list | tuple):
        entries = list(enumerate(value))
    elif hasattr(value, "numpy"):
        return {path: (str(value.dtype), tuple(value.shape), value.numpy().tobytes())}
    else:
        return {path: repr(value)}
    return {name: leaf for key, entry in entries for name, leaf in leaves(entry, f"{path}/{key}").items()}
