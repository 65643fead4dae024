"""A split as it stands in its source, before anybody has said what its columns mean, and its values as text."""

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from swarm_lightning.data.notices import Notice

Record = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The records of one split.

    Attributes:
        where: File or dataset and split in words, for messages.
        records: One mapping from column to value for each record.
        class_names: For columns that hold class numbers: the names of the classes.
        in_context_prompt: What stands before every question, unless a record has its own.
    """

    where: str
    records: Sequence[Record]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    in_context_prompt: str = ""


@dataclass(frozen=True)
class Source:
    """A file, folder or dataset of the hub, with the splits it has.

    Attributes:
        name: Name of the dataset.
        place: The path or id it was opened by, for messages.
        splits: Split name -> function that reads it. A list of records has one split, named "".
        notices: What was noticed when it was opened.
    """

    name: str
    place: str
    splits: Mapping[str, Callable[[], Table]]
    notices: tuple[Notice, ...] = ()


def text_of(value: object) -> str:
    """Write a single value as text.

    Whole floats lose their ".0": numbers become floats on the way when others in their column are missing.

    >>> text_of(3.0), text_of(2.5), text_of(True), text_of(datetime.datetime(2024, 5, 1))
    ('3', '2.5', 'True', '2024-05-01')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    # Readers make timestamps out of texts that look like dates.
    if isinstance(value, datetime.datetime) and value.time() == datetime.time(0) and value.tzinfo is None:
        return value.date().isoformat()
    if isinstance(value, int):
        return str(value) if abs(value) < 2**1024 else str(Decimal(value))  # Python limits the digits of whole numbers
    return str(value)


def is_missing(value: object) -> bool:
    """Tell whether a value stands for none: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
