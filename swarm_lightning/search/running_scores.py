"""Says which evaluation the scores of a journal belong to.

A search that goes on from a checkpoint makes the same positions again, so it finds the scores that an earlier process
had found for them; any other base, dataset, objective, seed or position gets another key, and none of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.ranks import digest
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.search.objective_state import objective_state
from swarm_lightning.search.resume import identity_of
from swarm_lightning.vectors import Vector, Vectors

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm

# Weights of a particle that its mark is made of: a move changes nearly all of them, so a few thousand tell positions
# apart, and reading them costs nothing beside the evaluation however large D is.
MARKED = 4096
PIECE = 256


def journal_for(module: "ModelSwarm", examples: Sequence[Example]) -> ScoreJournal:
    """Open the journal of a search for the evaluation of its present positions.

    Args:
        module: The search.
        examples: What will be asked.
    """
    if module.journal.keeps:
        identity = identity_of(module)
        asked = [(example.identifier, example.question, example.answer) for example in examples]
        iteration = int(module.swarm.iterations) if module.particle_swarm.begun else None
        state = (module.seed, iteration, objective_state(module.objective))
        marks = marks_of(module.particle_swarm.vectors(module.positions.data))
        module.journal.begin(digest(identity, state, asked, marks), module.ranks)
    return module.journal


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
