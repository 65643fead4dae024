"""What the search remembers of scores: which examples a particle is expected to fail, and where its utility may lie.

It says what the next evaluation has to find out (`evaluation/exact_stop.py` decides when that is known), and it is part
of the checkpoint, so that a resumed search asks what the uninterrupted one would ask.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.evaluation.exact_stop import Stakes, expected_scores
from swarm_lightning.swarm.state import Swarm


def _nothing() -> Tensor:
    return torch.empty(0, 0, dtype=torch.float64)


def _without_broken(scores: Tensor) -> Tensor:
    """Put the mean of the others where a broken particle has no score, 0 where nobody has one."""
    known = scores.masked_fill(~scores.isfinite(), math.nan)
    return torch.where(known.isnan(), known.nanmean(dim=0).nan_to_num(), known) if known.isnan().any() else known


@dataclass
class ScoreMemory:
    """Scores of N particles on M examples.

    Attributes:
        known: The last known score of every particle on every example [N, M] float64.
        best: The scores of its personal best [N, M] float64.
        reach: The lowest and the highest utility that its last evaluated position can have [N, 2] float64; equal where
            the utility is known.
    """

    known: Tensor = field(default_factory=_nothing)
    best: Tensor = field(default_factory=_nothing)
    reach: Tensor = field(default_factory=_nothing)

    def begin(self, evaluation: Evaluation) -> None:
        """Start with the scores of the first positions."""
        self.known = _without_broken(evaluation.scores)
        self.best = self.known.clone()
        self.reach = evaluation.reach.clone()

    def stakes(self, swarm: Swarm, repel: bool) -> Stakes:
        """Say what the evaluation of the current positions has to find out.

        Args:
            swarm: The swarm, moved and not yet evaluated.
            repel: Whether the search uses the global worst.
        """
        bests = swarm.personal_best_utilities
        still = [
            math.isfinite(best) and torch.equal(position, personal_best)
            for position, personal_best, best in zip(swarm.positions, swarm.personal_bests, bests.tolist(), strict=True)
        ]
        return Stakes(
            personal_bests=bests.clone(),
            floor=float(swarm.global_worst_utility) if repel else -math.inf,
            expected=expected_scores(self.known, self.best, int(swarm.best_particle)),
            known=torch.where(torch.tensor(still), bests, math.nan),
        )

    def update(self, evaluation: Evaluation, swarm: Swarm, due: Tensor) -> None:
        """Take in an evaluation, before the swarm does.

        Args:
            evaluation: What the particles made of the examples.
            swarm: The swarm with the bests from before.
            due: Which particles were evaluated [N] bool.
        """
        self.known = torch.where(evaluation.scores.isfinite(), evaluation.scores, self.known)
        improved = evaluation.utilities > swarm.personal_best_utilities
        self.best[improved] = evaluation.scores[improved]
        self.reach[due] = evaluation.reach[due]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the three tensors, by name."""
        return {"known": self.known, "best": self.best, "reach": self.reach}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        self.known, self.best, self.reach = (state[name].cpu().clone() for name in ("known", "best", "reach"))
