"""What a user should know about the data although a run may go on with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Notice:
    """One finding in a dataset.

    Attributes:
        kind: What was found: "leak", "duplicates", "no question", "no answer", "answer not among the choices",
            "equal choices", "repeated ids", "sampled", "few records", "empty split", "unknown keys", "splits",
            "one split", "broken text", "column names", "unnamed column" or "same answer".
        severity: "info" is worth knowing, a "warning" may make a score mean less than it seems to, and with an
            "error" no search can run.
        message: Whole sentences: what was found, where, how often, and what to do.
        count: How many records are meant.
        identifiers: The ids of all the records that are meant.
    """

    kind: str
    severity: Literal["info", "warning", "error"]
    message: str
    count: int = 0
    identifiers: tuple[str, ...] = ()


def name_some(identifiers: Sequence[str]) -> str:
    """Name the first few ids for a message.

    >>> name_some(["a", "b"])
    'ids a, b'
    >>> name_some(list("abcdefg"))
    'ids a, b, c, d, e and 2 more'
    """
    named = ", ".join(identifiers[:NAMED_AT_MOST])
    rest = len(identifiers) - NAMED_AT_MOST
    word = "id" if len(identifiers) == 1 else "ids"
    return f"{word} {named} and {rest} more" if rest > 0 else f"{word} {named}"
