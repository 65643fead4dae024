"""Scores the best initial expert, the best found expert and an ensemble on any split.

Which particles vote is decided by their utilities on the split that guided the search, never by the one scored here.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.ensemble import vote
from swarm_lightning.search.results import Row

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


def compare(module: "ModelSwarm", examples: Sequence[Example], ensemble: bool = False) -> tuple[Row, ...]:
    """Score the best initial expert, the best found expert and, on request, the vote of the best particles.

    Args:
        module: The search, with its swarm.
        examples: The examples to ask, M of them.
        ensemble: Whether the `ensemble_size` best personal bests vote as well: by majority, ties by utility.

    Returns:
        One row each.
    """
    swarm, pool, count = module.swarm, module.pool, len(examples)
    initial = module.best_initial
    chosen = swarm.personal_best_utilities.argsort(descending=True, stable=True)[: module.ensemble_size]
    candidates = [pool.vectors[initial].to(swarm.global_best), swarm.global_best]
    if ensemble:
        candidates += list(swarm.personal_bests[chosen.to(swarm.personal_bests.device)])
    evaluation = module.evaluator.evaluate(torch.stack(candidates), examples, whole_replies=True)
    rows = [
        Row("best initial expert", pool.names[initial], float(evaluation.utilities[0]), count),
        Row("best found expert", f"particle {int(swarm.best_particle)}", float(evaluation.utilities[1]), count),
    ]
    if ensemble:
        outcomes = vote(evaluation.outcomes[2:], swarm.personal_best_utilities[chosen])
        utility = sum(outcome.score for outcome in outcomes) / count
        rows.append(Row(f"top-{len(chosen)} ensemble", f"particles {chosen.tolist()}", utility, count))
    return tuple(rows)
