"""What one run of one method gave, and where it is kept: one file each, so that an interrupted comparison goes on.

A file is written whole or not at all. Methods that are absent leave none: the next run asks them again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swarm_lightning.differences import differences_between
from swarm_lightning.errors import InputError
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.runs.run_folder import COMPARISON, RESULTS


@dataclass(frozen=True)
class Result:
    """One run of one method.

    Attributes:
        method: Name of the method.
        seed: Seed of the run; None for a method without random numbers.
        validation: Utility on the validation split.
        test: Score of every test example, in the order of the split; empty where there is no test split.
        evaluations: (particle, example) pairs that were asked of the validation split.
        seconds: Time to make it, without loading and testing.
        detail: What was chosen or found.
        adapter: Folder of its adapter or full checkpoint, from that of the comparison; None where it is neither, or
            none was wanted.
        climb: Of a method that searches by the objective: pairs asked, and the best validation utility by then,
            wherever it rose; empty for others.
        forward_passes: Calls of a model that the evaluations took, whatever the batch; None where nobody can count
            them, and in results of earlier versions.
    """

    method: str
    seed: int | None
    validation: float
    test: list[float]
    evaluations: int
    seconds: float
    detail: str
    adapter: str | None = None
    climb: list[tuple[int, float]] = field(default_factory=list)
    forward_passes: int | None = None


def place_of(folder: Path, method: str, seed: int | None) -> Path:
    """Return the file of a result."""
    return folder / RESULTS / (f"{method}.json" if seed is None else f"{method}_seed_{seed}.json")


def write_result(folder: Path, result: Result) -> None:
    """Keep a result.

    Args:
        folder: Of the comparison.
        result: What came out.
    """
    _write(place_of(folder, result.method, result.seed), asdict(result))


def read_results(folder: Path) -> dict[str, list[Result]]:
    """Return all results that were kept, by method, in the order of their seeds.

    Args:
        folder: Of the comparison.
    """
    found: dict[str, list[Result]] = {}
    for path in (folder / RESULTS).glob("*.json"):
        result = Result(**json.loads(path.read_text(encoding="utf-8")))
        found.setdefault(result.method, []).append(result)
    return {method: sorted(results, key=lambda result: result.seed or 0) for method, results in found.items()}


def agree(folder: Path, identity: Mapping[str, Any], open_settings: Sequence[str] = ()) -> None:
    """Note what a comparison compares, or refuse to go on with one that compared something else.

    Args:
        folder: Of the comparison.
        identity: Experts, data and settings, as nested plain values; those of the comparison under `compare`.
        open_settings: Settings of the comparison that no result depends on yet: what was noted of them gives way.

    Raises:
        InputError: If results of another comparison are there; it names the differences.
    """
    path, plain = folder / COMPARISON, json.loads(json.dumps(identity))
    if path.is_file():
        noted = json.loads(path.read_text(encoding="utf-8"))
        changed = {name: plain["compare"][name] for name in open_settings}
        saved = {**noted, "compare": {**noted["compare"], **changed}}
        differences = differences_between(saved, plain, "in the comparison")
        if differences:
            raise InputError(
                f"Expected to continue the comparison in {str(folder)!r}, but {'; '.join(differences)}. Give it the "
                "config.yaml of that folder, or choose another compare.output."
            )
        if noted == plain:
            return
    _write(path, plain)


def _write(path: Path, content: Any) -> None:
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content, indent=1) + "\n")
