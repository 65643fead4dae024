"""Particles whose numbers went wrong: weights that are NaN or infinite, and utilities that are infinite.

A broken particle counts as lower than any utility (-inf), so it is never a best. It is never the global worst either:
the others are pushed away from that position, and one that is not finite would break them all. It goes on from its
personal best. (A utility of NaN is another thing: it was left open, because it could change nothing.)
"""

from torch import Tensor

from swarm_lightning.swarm.state import Swarm

BLOCK = 4_194_304  # weights looked at in one operation, where a sum is not enough


def finite_rows(positions: Tensor) -> Tensor:
    """Tell which particles' weights are all finite, in one reading of them.

    Args:
        positions: Positions [N, D].

    Returns:
        Mask [N] bool, on the CPU.

    >>> import torch
    >>> finite_rows(torch.tensor([[1.0, torch.nan], [torch.inf, -torch.inf], [3e38, 3e38]])).tolist()
    [False, False, True]
    """
    finite = positions.sum(dim=1).isfinite().cpu()
    for index in (~finite).nonzero().flatten().tolist():  # the sum of finite weights may be infinite
        finite[index] = all(bool(part.isfinite().all()) for part in positions[index].split(BLOCK))
    return finite


def revive(swarm: Swarm, broken: Tensor, usable: Tensor | None = None) -> None:
    """Let broken particles go on.

    From their personal best, at rest. One that never had a utility has none: it goes on towards the others from where
    it is, or if that is nowhere, from the global best.

    Args:
        swarm: Positions and velocities of the broken particles are updated in place; their personal bests are finite.
        broken: Mask [N] bool.
        usable: Which positions are finite [N] bool; looked up where not given.
    """
    if not broken.any():
        return
    usable = finite_rows(swarm.positions) if usable is None else usable
    for index in broken.nonzero().flatten().tolist():
        if swarm.personal_best_utilities[index].isfinite():
            swarm.positions[index].copy_(swarm.personal_bests[index])
        elif usable[index]:
            continue
        else:
            swarm.positions[index].copy_(swarm.global_best)
        swarm.velocities[index].zero_()
