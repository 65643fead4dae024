"""Scores the best initial expert, the best found expert and an ensemble on any split.

Where the objective can compare replies, it also says how often they beat those of the best initial expert. Which
particles vote is decided by their utilities on the split that guided the search, never by the one scored here.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.ensemble import vote
from swarm_lightning.objectives.protocol import ComparesReplies, Outcome
from swarm_lightning.objectives.utility import parts_of, utility_of
from swarm_lightning.search.results import FOUND, INITIAL, Row

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm
    from swarm_lightning.vectors import Vector


def compare(
    module: "ModelSwarm", examples: Sequence[Example], ensemble: bool = False, win_rates: bool = False
) -> tuple[Row, ...]:
    """Score the best initial expert, the best found expert and, on request, the vote of the best particles.

    Args:
        module: The search, with its swarm.
        examples: The examples to ask, M of them.
        ensemble: Whether the `ensemble_size` best personal bests vote as well: by majority, ties by utility.
        win_rates: Whether replies are compared with those of the best initial expert, where the objective can do so.

    Returns:
        One row each.
    """
    swarm, pool, count = module.swarm, module.pool, len(examples)
    vector_of = module.particle_swarm.vector
    initial = module.best_initial
    chosen = swarm.personal_best_utilities.argsort(descending=True, stable=True)[: module.ensemble_size]
    candidates: list[Vector] = [pool.vector(initial), vector_of(swarm.global_best)]
    if ensemble:
        candidates += [vector_of(swarm.personal_bests[particle]) for particle in chosen.tolist()]
    # Sampled replies are drawn as in the search, so that its utilities come again on the split that guided it.
    numbers = [initial, int(swarm.best_particle), *(chosen.tolist() if ensemble else [])]
    evaluation = module.evaluator.evaluate(candidates, examples, whole_replies=True, numbers=numbers)
    outcomes = [[outcome for outcome in row if outcome is not None] for row in evaluation.outcomes[:2]]
    named = [(INITIAL, pool.names[initial]), (FOUND, f"particle {int(swarm.best_particle)}")]
    if ensemble:
        outcomes.append(vote(evaluation.outcomes[2:], swarm.personal_best_utilities[chosen]))
        named.append((f"top-{len(chosen)} ensemble", f"particles {chosen.tolist()}"))
    scores = [[outcome.score for outcome in found] for found in outcomes]
    rows = [
        Row(
            *name,
            utility_of(module.objective, found, examples),
            count,
            parts=parts_of(module.objective, found, examples),
        )
        for name, found in zip(named, scores, strict=True)
    ]
    if win_rates and isinstance(module.objective, ComparesReplies):
        rates = [_win_rate(module, module.objective, examples, found, outcomes[0]) for found in outcomes[1:]]
        rows[1:] = [replace(row, win_rate=rate) for row, rate in zip(rows[1:], rates, strict=True)]
    return tuple(rows)


def _win_rate(
    module: "ModelSwarm",
    objective: ComparesReplies,
    examples: Sequence[Example],
    outcomes: Sequence[Outcome],
    initial: Sequence[Outcome],
) -> float | None:
    """Let the first rank compare replies: every rank holds them all."""
    rate: float | None = None
    with module.ranks.together():
        if module.ranks.index == 0:
            rate = objective.win_rate(examples, outcomes, initial)
    return module.ranks.first(rate)
