"""What a search reports in the end: who was best before, who is best now, and how good each is.

Plain values only, so that a result can be printed, written as JSON, or put on a model card.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

INITIAL, FOUND = "best initial expert", "best found expert"


@dataclass(frozen=True)
class Row:
    """One line of a table of results.

    Attributes:
        name: What was scored, e.g. `best found expert`.
        detail: Which one it is, e.g. the expert's name or the particles of an ensemble.
        utility: Its utility on the split that was scored, higher is better.
        examples: Number of examples that were scored.
        win_rate: Share of examples on which its reply beats that of the best initial expert, ties counted half; None
            where the objective does not compare replies, or nobody asked it to.
        parts: The utility of every task, where the search has several.
    """

    name: str
    detail: str
    utility: float
    examples: int
    win_rate: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values, without a win rate or tasks where there are none."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != {}}


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a whole search.

    Attributes:
        validation: The best initial and the best found expert on the split that guided the search.
        test: The same two on the test split; empty where there is none.
        particle: The particle whose personal best is the best found expert.
        iterations: Iterations done.
        restarts: Restarts of all particles together.
        seconds: Time of the search in seconds, over all of its resumed parts, without loading and the test split.
        evaluations: (particle, example) evaluations of the search, over all of its resumed parts.
        generated_tokens: Tokens that were generated for them.
    """

    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    particle: int
    iterations: int
    restarts: int
    seconds: float
    evaluations: int
    generated_tokens: int

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""
        rows = {name: [row.to_dict() for row in getattr(self, name)] for name in ("validation", "test")}
        return asdict(self) | rows
