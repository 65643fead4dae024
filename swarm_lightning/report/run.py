"""Reads a run folder into data frames: of a search (`fit`), a comparison (`compare`), a sweep, or several tasks.

Only files are read, so a run that goes on can be looked at, one that was cut off too, and those of earlier versions as
far as they have the files.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from swarm_lightning.errors import InputError
from swarm_lightning.names import SYSTEM
from swarm_lightning.runs.long_history import rows_of_wide
from swarm_lightning.runs.run_folder import (
    BEST_EXPERT,
    BY_OBJECTIVE,
    CONFIG,
    HISTORY,
    LONG_HISTORY,
    NODES,
    RECORD,
    REPLIES,
    RESULTS,
    SCORE_TABLES,
    SKETCHES,
    SUMMARY,
    iterations_of,
)
from swarm_lightning.runs.run_record import read_record

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

RunKind = Literal["search", "comparison", "sweep", "tasks"]
Read = TypeVar("Read")
COMPARISON, SWEEP, TASKS = "compare.csv", "sweep.csv", "tasks.csv"


@dataclass(frozen=True)
class Run:
    """What a run folder holds; everything is read when it is first asked for.

    Attributes:
        folder: The run folder.
        kind: What was run.
    """

    folder: Path
    kind: RunKind

    @cached_property
    def record(self) -> dict[str, Any]:
        """What `run.json` says, with `state` as it is now; empty where there is none."""
        return read_record(self.folder)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` says; empty where the search has not ended."""
        path = self.folder / SUMMARY
        found = _read(path, partial(_json, path)) if path.is_file() else {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def swarm(self) -> "pandas.DataFrame":
        """The wide history: one row per iteration; empty where the first positions are not scored yet."""
        import pandas

        path = self.folder / HISTORY
        if not path.is_file() or not path.stat().st_size:
            return pandas.DataFrame({"iteration": []})
        return _read(path, lambda: pandas.read_csv(path, on_bad_lines="skip"))

    @cached_property
    def history(self) -> "pandas.DataFrame":
        """The long history: one row per iteration and particle; see `runs/long_history.py`."""
        import pandas

        path = self.folder / LONG_HISTORY
        if path.is_file():
            return _read(path, lambda: pandas.read_parquet(path))
        wide = self.folder / HISTORY
        return pandas.DataFrame(rows_of_wide(wide) if wide.is_file() and wide.stat().st_size else {})

    @cached_property
    def scores(self) -> "dict[int, Tensor]":
        """The score table [N, M] of every iteration, by its number; NaN where nothing was asked."""
        return self._tensors(SCORE_TABLES, "scores")

    @cached_property
    def by_objective(self) -> "dict[str, Tensor]":
        """What the objective says where `scores` are by a guide: of the `experts` [n, M], and of what was `found` [M].

        Empty where no guide was followed, and of earlier versions; without `found` where the search has not ended.
        """
        from safetensors.torch import load_file

        path = self.folder / SCORE_TABLES / BY_OBJECTIVE
        return _read(path, lambda: load_file(path)) if path.is_file() else {}

    @cached_property
    def sketches(self) -> "dict[int, Tensor]":
        """A sketch of every position [N, S], by iteration."""
        return self._tensors(SKETCHES, "positions")

    @cached_property
    def found(self) -> "dict[int, Tensor]":
        """A sketch of the best position [S] so far, by iteration."""
        return self._tensors(SKETCHES, "found")

    @cached_property
    def coefficients(self) -> "Tensor | None":
        """The coefficients [n, G] of the best position, where positions are coefficients of the experts."""
        return next(reversed(self._tensors(SKETCHES, "coefficients").values()), None)

    @cached_property
    def replies(self) -> "dict[str, pandas.DataFrame]":
        """What the best initial and the best found expert replied, by split, as far as it was kept."""
        import pandas

        paths = {split: self.folder / REPLIES / f"{split}.parquet" for split in ("validation", "test")}
        return {split: _frame(path, pandas.read_parquet) for split, path in paths.items() if path.is_file()}

    @cached_property
    def nodes(self) -> "pandas.DataFrame":
        """What every node of the best system of a search of graphs replied to the first examples; empty elsewhere."""
        import pandas

        path = self.folder / REPLIES / NODES
        return _frame(path, pandas.read_parquet) if path.is_file() else pandas.DataFrame()

    @cached_property
    def test(self) -> "pandas.DataFrame":
        """The best initial and the best found expert on the test split; empty where there is none, or not yet."""
        import pandas

        return pandas.json_normalize(self.summary.get("test", []))

    @cached_property
    def tested(self) -> "pandas.DataFrame":
        """What the latest `swarm test` has found in this folder; empty where there was none."""
        import pandas

        paths = sorted(self.folder.glob("test*.csv"), key=lambda path: path.stat().st_mtime)
        # Rows of experts that are compared with nobody end early.
        return _frame(paths[-1], lambda path: pandas.read_csv(path, index_col=False)) if paths else pandas.DataFrame()

    @cached_property
    def comparison(self) -> "pandas.DataFrame":
        """The table of a comparison, titles with their signs; empty for other runs."""
        table = self._table(COMPARISON)
        if "sign" in table:
            table["sign"] = table.sign.astype(object).fillna("")
            table["title"] = (table.title + " " + table.sign).str.rstrip()
        return table

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        """What every method of a comparison has come to with every seed, by method and seed; none for other runs."""
        names, found = ("method", "seed", "evaluations", "climb"), []
        for path in (self.folder / RESULTS).glob("*.json") if self.kind == "comparison" else ():
            result = _read(path, partial(_json, path))
            found.append({"climb": [], **{name: result[name] for name in names if name in result}})
        return sorted(found, key=lambda result: (result["method"], result["seed"] or 0))

    @cached_property
    def sweep(self) -> "pandas.DataFrame":
        """The table of a sweep; empty for other runs."""
        return self._table(SWEEP)

    @cached_property
    def tasks(self) -> "pandas.DataFrame":
        """The table of several tasks; empty for other runs."""
        return self._table(TASKS)

    @property
    def best(self) -> Path | None:
        """The folder of the best found expert; None where there is none yet."""
        folder = self.folder / BEST_EXPERT
        return folder if folder.is_dir() else None

    @property
    def experts(self) -> list[str]:
        """Names of the experts."""
        return [str(name) for name in self.record.get("experts", [])]

    @property
    def starts(self) -> list[str]:
        """Names of the experts that the first particles began as, in their order; none where particles are graphs."""
        return [] if SYSTEM in self.swarm else self.experts

    @property
    def name(self) -> str:
        """What the run is called: the last two parts of its path."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def files(self) -> dict[str, Path]:
        """The files and folders of the run by name, as far as they are there."""
        names = (
            CONFIG, HISTORY, LONG_HISTORY, SCORE_TABLES, SKETCHES, REPLIES, SUMMARY, COMPARISON, SWEEP, TASKS,
            BEST_EXPERT,
        )  # fmt: skip
        return {name: self.folder / name for name in names if (self.folder / name).exists()}

    def _tensors(self, kind: str, name: str) -> "dict[int, Tensor]":
        from safetensors import safe_open

        found = {}
        for iteration, path in iterations_of(self.folder, kind).items():

            def tensor(path: Path = path) -> "Tensor | None":
                with safe_open(path, framework="pt") as file:
                    return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118 - no mapping

            read = _read(path, tensor)
            if read is not None:
                found[iteration] = read
        return found

    def _table(self, name: str) -> "pandas.DataFrame":
        import pandas

        path = self.folder / name
        return _frame(path, pandas.read_csv) if path.is_file() else pandas.DataFrame()


def open_run(folder: str | Path) -> Run:
    """Read a run folder.

    Args:
        folder: Of `swarm fit`, `swarm compare` or `swarm sweep`; the run may still go on.

    Returns:
        Its content.

    Raises:
        InputError: If it is no such folder.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        there = "is a file" if path.exists() else "is not there"
        raise InputError(
            f"Expected a run folder, but {str(path)!r} {there}. Give a run folder, as `swarm runs` lists them."
        )
    kinds: Mapping[RunKind, tuple[str, ...]] = {
        "comparison": (COMPARISON, "comparison.json"),
        "sweep": (SWEEP, "study.db"),
        "tasks": (TASKS,),
        "search": (RECORD, HISTORY, SUMMARY, CONFIG),
    }
    for kind, names in kinds.items():
        if any((path / name).is_file() for name in names):
            return Run(path, kind)
    below = sorted(inner.name for inner in path.glob("version_*") if inner.is_dir())
    advice = (
        f"It holds {', '.join(below[-3:])}: give one of these."
        if below
        else "Give a run folder, as `swarm runs` lists them."
    )
    raise InputError(f"Expected a run folder, but {str(path)!r} contains no files of a run. {advice}")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _frame(path: Path, reader: "Callable[[Path], pandas.DataFrame]") -> "pandas.DataFrame":
    return _read(path, lambda: reader(path))


def _read(path: Path, reader: Callable[[], Read]) -> Read:
    """Read a file.

    Raises:
        InputError: If it is damaged.
    """
    try:
        return reader()
    except Exception as error:  # each of the libraries that read has errors of its own
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"Expected {str(path)!r} as a run has written it, but it can't be read: {first.rstrip('.')}. Remove it; "
            "the page then leaves its content out."
        ) from error
