"""DARE-TIES: drop weights of every expert at random, rescale the rest, then elect signs as TIES does.

    kept_i = x_i with probability `density`, divided by it, else 0; then the sign and the mean of TIES

Tensor by tensor, on A and B as they stand, as PEFT's `add_weighted_adapter` does it, with PEFT's own operations;
weight 1 for every expert. Published on differences from the base; see `ties.py` for what A and B have to do with these.
Of full checkpoints x_i is what an expert adds to the base, and the result is added to the base; without `model.base`
the row is absent. Source: Yu et al., arXiv:2311.03099, with the sign election of TIES, arXiv:2306.01708.
"""

import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.ties import merge_differences
from swarm_lightning.doors.peft import keep_at_random, merge_by_elected_signs
from swarm_lightning.experts.layout import Layout


def merge_dare_ties(experts: Tensor, layout: Layout, density: float, seed: int, origin: Tensor | None = None) -> Tensor:
    """Merge experts by DARE-TIES.

    Args:
        experts: Weights [n, D].
        layout: Which tensor stands where in a row.
        density: Share of the weights that is kept, in (0, 1).
        seed: Seed of what is dropped; the random numbers of the process stay as they are.
        origin: Weights of the base [D]; None for zeros.

    Returns:
        Weights [D].
    """
    with torch.random.fork_rng(devices=[]):  # PEFT draws from the process's own numbers
        torch.manual_seed(seed)
        return merge_differences(
            experts,
            layout,
            origin,
            lambda parts: merge_by_elected_signs(torch.stack([keep_at_random(part, density) for part in parts])),
        )


class DareTies:
    """Merges all experts and asks the result."""

    title = "DARE-TIES"
    kind: Kind = "drawn"
    least = 2

    def __init__(self, density: float) -> None:
        """Take the share of the weights that is kept.

        Args:
            density: In (0, 1).
        """
        self.density = density

    def compose(self, bench: Bench) -> Composition:
        """Merge all experts with weight 1.

        Raises:
            Absent: If the experts are full checkpoints without a base.
        """
        layout, origin = bench.module.pool.layout, bench.origin()
        merged = merge_dare_ties(bench.experts, layout, self.density, bench.seed, origin)
        return Composition(bench.utility(merged), f"density {self.density:g}, weight 1", merged)
