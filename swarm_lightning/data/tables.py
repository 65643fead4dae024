"""A split as it stands in its source, before anybody has said what its columns mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
