"""Says which particles broke in an iteration and why, and ends a search in which all did.

How a broken particle counts and goes on is in `swarm/broken.py`; what the model computes and the objective scores is
looked at in `evaluation/objective_call.py`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from swarm_lightning.evaluation.evaluator import Evaluation
    from swarm_lightning.search.model_swarm import ModelSwarm

MEND = (
    "Half precision overflows first: try model.dtype float32. If the objective gives scores that are NaN or infinite, "
    "let it give the lowest score there; if the swarm flies apart, lower model.optimizer.lr."
)


def report_broken(module: "ModelSwarm", evaluation: "Evaluation", examples: Sequence[Example]) -> Tensor:
    """Warn of every particle that has broken.

    Args:
        module: The search, in the middle of an iteration.
        evaluation: Of the positions that have just been reached.
        examples: What was asked.

    Returns:
        Which particles are broken [N] bool.

    Raises:
        InputError: If all are.
    """
    optimizer = module.particle_swarm
    iteration = int(module.swarm.iterations) + 1 if optimizer.begun else 0
    when = f"in iteration {iteration}" if iteration else "before the first move"
    failed = evaluation.utilities == -torch.inf
    broken = optimizer.lost | failed
    reasons = {
        particle: "its weights are not finite"
        if optimizer.lost[particle]
        else _of_outputs(evaluation, particle, examples)
        for particle in broken.nonzero().flatten().tolist()
    }
    if broken.all():
        raise InputError(
            f"Expected at least one particle with a finite utility, but all {len(broken)} are broken {when}: "
            f"{reasons[0]} (particle 0). {MEND} What was found before stays: `swarm export --ckpt_path last` writes it."
        )
    for particle, reason in reasons.items():
        rank_zero_warn(
            f"Particle {particle} is broken {when}: {reason}. It counts as the worst and goes on from its "
            "personal best.",
            category=UserWarning,
        )
    return broken


def _of_outputs(evaluation: "Evaluation", particle: int, examples: Sequence[Example]) -> str:
    places = (evaluation.scores[particle] == -torch.inf).nonzero().flatten().tolist()
    named = ", ".join(repr(examples[place].identifier) for place in places[:3])
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return (
        f"what the model computes, or the score that the objective gives, is NaN or infinite for example {named}{more}"
    )
