"""What an iteration finds out: what the next evaluation has to ask, which scores are known, which particles broke.

`evaluation/exact_stop.py` decides when enough is known, `swarm/broken.py` says how a broken particle goes on, and the
memory of scores is part of the checkpoint, so that a resumed search asks what the uninterrupted one would ask.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.evaluation.exact_stop import Stakes, expected_scores
from swarm_lightning.evaluation.ranks import Ranks, digest
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.vectors import Vector, Vectors

# Weights of a particle that its mark is made of: a move changes nearly all of them, so a few thousand tell positions
# apart, and reading them costs nothing beside the evaluation however large D is.
MARKED = 4096
PIECE = 256
MEND = (
    "Half precision overflows first: try model.dtype float32. If the objective gives scores that are NaN or infinite, "
    "let it give the lowest score there; if the swarm flies apart, lower model.optimizer.lr."
)


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

    def stakes(self, swarm: Swarm, repel: bool, last: bool = True) -> Stakes:
        """Say what the evaluation of the current positions has to find out.

        Args:
            swarm: The swarm, moved and not yet evaluated.
            repel: Whether the search uses the global worst.
            last: Whether a position that was asked before has the same utility now.
        """
        bests = swarm.personal_best_utilities
        still = [
            last and math.isfinite(best) and torch.equal(position, personal_best)
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


def open_journal(
    journal: ScoreJournal,
    identity: Mapping[str, Any],
    state: tuple[int | None, int | None, Mapping[str, Any]],
    examples: Sequence[Example],
    positions: Vectors,
    ranks: Ranks,
) -> None:
    """Open a journal for the evaluation of the present positions.

    A search that goes on from a checkpoint makes the same positions again, so it finds the scores that an earlier
    process had found for them; any other base, dataset, objective, seed or position gets another key, and none of them.

    Args:
        journal: One that keeps scores.
        identity: What makes the search this one.
        state: Its seed, the iterations done (None before the first positions are scored), and what its objective keeps.
        examples: What will be asked.
        positions: Of whom.
        ranks: The processes that share the work.
    """
    asked = [(example.identifier, example.question, example.answer) for example in examples]
    journal.begin(digest(dict(identity), state, asked, marks_of(positions)), ranks)


def marks_of(positions: Vectors) -> list[str]:
    """Return a fingerprint of every position.

    Args:
        positions: Weights of N particles [N, D], or N vectors.

    >>> one, same, other = marks_of(torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]))
    >>> one == same, one == other
    (True, False)
    """
    return [digest(_sample(position).cpu().contiguous().view(torch.uint8).numpy().tobytes()) for position in positions]


def _sample(position: Vector) -> Tensor:
    if isinstance(position, Tensor):
        return position[:: max(1, len(position) // MARKED)]
    step = max(PIECE, len(position) * PIECE // MARKED)  # on the disk, numbers that lie together cost one reading
    return torch.cat([position[start : start + PIECE] for start in range(0, len(position), step)])


def report_broken(optimizer: SearchOptimizer, evaluation: Evaluation, examples: Sequence[Example]) -> Tensor:
    """Warn of every candidate that has broken.

    Args:
        optimizer: In the middle of an iteration.
        evaluation: Of its candidates.
        examples: What was asked.

    Returns:
        Which candidates are broken [P] bool.

    Raises:
        InputError: If all are.
    """
    iteration = int(optimizer.swarm.iterations) + 1 if optimizer.begun else 0
    when = f"in iteration {iteration}" if iteration else "before the first move"
    kind, lost = optimizer.kind, optimizer.lost
    broken = lost | (evaluation.utilities == -torch.inf)
    reasons = {
        particle: "its weights are not finite" if lost[particle] else _of_outputs(evaluation, particle, examples)
        for particle in broken.nonzero().flatten().tolist()
    }
    if broken.all():
        raise InputError(
            f"Expected at least one {kind} with a finite utility, but all {len(broken)} are broken {when}: "
            f"{reasons[0]} ({kind} 0). {MEND} What was found before stays: `swarm export --ckpt_path last` writes it."
        )
    for particle, reason in reasons.items():
        rank_zero_warn(
            f"{kind.capitalize()} {particle} is broken {when}: {reason}. {optimizer.after_breaking}",
            category=UserWarning,
        )
    return broken


def _of_outputs(evaluation: Evaluation, particle: int, examples: Sequence[Example]) -> str:
    places = (evaluation.scores[particle] == -torch.inf).nonzero().flatten().tolist()
    named = ", ".join(repr(examples[place].identifier) for place in places[:3])
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return (
        f"what the model computes, or the score that the objective gives, is NaN or infinite for example {named}{more}"
    )
