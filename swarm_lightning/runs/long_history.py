"""The history of a run in long form, `history.parquet`: one typed row per iteration and particle, in this order.

So the plain questions have plain answers: `history.loc[history.personal_best.idxmax(), "particle"]` is the particle
that has found the best expert. `history.csv` has the same numbers side by side, and those of the swarm as a whole.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm_lightning.errors import InputError
from swarm_lightning.files import write_whole

# Name, type and meaning of every column.
COLUMNS = (
    ("iteration", "int32"),  # 0 for the first positions
    ("particle", "int32"),
    ("utility", "float64"),  # null where it was left open, -inf where the particle broke
    ("at_least", "float64"),  # where it lies; equal where it is known
    ("at_most", "float64"),
    ("personal_best", "float64"),  # the highest utility so far
    ("restarted", "bool"),  # whether it moved from its personal best, at rest; null where a run did not write it down
)


@dataclass
class LongHistory:
    """The rows of a run, and the file that holds them.

    Attributes:
        path: The file.
        columns: The values of every column, by name.
    """

    path: Path
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name, _ in COLUMNS})

    def add(self, iteration: int, particles: Mapping[str, Sequence[Any]]) -> None:
        """Add an iteration.

        Args:
            iteration: Its number.
            particles: The values of all particles [N], by the names of the other columns; NaN where one is unknown.
        """
        count = len(particles["utility"])
        self.columns["iteration"] += [iteration] * count
        self.columns["particle"] += range(count)
        for name, values in particles.items():
            self.columns[name] += [
                None if isinstance(value, float) and math.isnan(value) else value for value in values
            ]

    def save(self) -> None:
        """Write all rows, whole or not at all.

        Raises:
            StorageError: If they can't be written.
        """
        import pyarrow
        from pyarrow import parquet

        types = {"int32": pyarrow.int32(), "float64": pyarrow.float64(), "bool": pyarrow.bool_()}
        schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS])
        content = io.BytesIO()
        parquet.write_table(pyarrow.table(self.columns, schema=schema), content)
        write_whole(self.path, content.getvalue())

    def keep(self, last: int, wide: Path) -> None:
        """Take up the rows of an earlier part of the run, without those that come again.

        Args:
            last: The iteration that is kept last.
            wide: `history.csv`, from which the rows are made where the file lacks some: runs of earlier versions have
                none, and one that was killed may have lost the last.
        """
        from pyarrow import parquet

        rows = parquet.read_table(self.path).to_pydict() if self.path.is_file() else {}
        if not set(range(last + 1)) <= set(rows.get("iteration", [])):
            rows = rows_of_wide(wide)
        kept = [place for place, iteration in enumerate(rows["iteration"]) if iteration <= last]
        self.columns = {name: [rows[name][place] for place in kept] for name, _ in COLUMNS}


def rows_of_wide(path: Path) -> dict[str, list[Any]]:
    """Make the rows of a run from its `history.csv`; which particles were restarted is not known then.

    Args:
        path: The file.

    Returns:
        The values of every column, by name; no rows where the search moved no particles.

    Raises:
        InputError: If it is not such a file.
    """
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    header = lines[0] if lines else []
    if "iteration" not in header:
        raise InputError(f"Expected the history of a run, but {str(path)!r} has no column 'iteration'.")
    count = sum(name.startswith("utility/particle_") for name in header)
    history, bests = LongHistory(path), [-math.inf] * count
    for line in lines[1:]:
        if len(line) != len(header):  # a row that a kill has cut short
            continue
        row = dict(zip(header, line, strict=True))
        named = {
            name: [float(row.get(f"{name}/particle_{place:02d}") or math.nan) for place in range(count)]
            for name in ("utility", "at_least", "at_most")
        }
        bests = [max(best, value) for best, value in zip(bests, _lowest_for_none(named["utility"]), strict=True)]
        history.add(int(row["iteration"]), {**named, "personal_best": bests, "restarted": [math.nan] * count})
    return history.columns


def _lowest_for_none(values: Sequence[float]) -> list[float]:
    return [-math.inf if math.isnan(value) else value for value in values]
