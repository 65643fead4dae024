"""Sums a search up, and names what is logged of a table of results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example
from swarm_lightning.search.comparison import compare
from swarm_lightning.search.results import FOUND, INITIAL, Row, SearchResult
from swarm_lightning.search.tasks import named_parts

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


def sum_up(module: "ModelSwarm", test: Sequence[Example]) -> SearchResult:
    """Say what came out of a search.

    Args:
        module: The search, ended.
        test: The examples held back, which are scored; empty if there are none.
    """
    swarm, initial = module.swarm, module.best_initial
    found = f"particle {int(swarm.best_particle)}"
    before, parts, count = float(swarm.initial_utilities[initial]), module.parts.get, module.examples
    best = float(swarm.global_best_utility)
    return SearchResult(
        validation=(
            Row(INITIAL, module.pool.names[initial], before, count, parts=parts(INITIAL, {})),
            Row(FOUND, found, best, count, parts=parts(FOUND, {})),
        ),
        test=compare(module, test) if test else (),
        particle=int(swarm.best_particle),
        iterations=int(swarm.iterations),
        restarts=int(swarm.restarts.sum()),
        seconds=module.seconds,
        evaluations=module.evaluations,
        generated_tokens=module.generated_tokens,
    )


def metrics_of(rows: Sequence[Row], split: str) -> dict[str, float]:
    """Return the numbers of a table of results, by the names under which they are logged.

    Args:
        rows: The table.
        split: Which split was scored.
    """
    named = {f"{split}/{row.name.replace(' ', '_')}": row for row in rows}
    metrics = {name: row.utility for name, row in named.items()}
    metrics |= {f"{name}/win_rate": row.win_rate for name, row in named.items() if row.win_rate is not None}
    metrics |= {part: value for name, row in named.items() for part, value in named_parts(row.parts, name).items()}
    return metrics
