"""TIES: keep the largest weights of every expert, elect a sign for every place, and take the mean of those that agree.

    trimmed_i = x_i where |x_i| is among the largest `density` of its tensor, else 0
    sign = sign(trimmed_1 + ... + trimmed_n);  merged = mean of the trimmed_i != 0 that have this sign

Tensor by tensor, on A and B as they stand, as PEFT's `add_weighted_adapter` does it, with PEFT's own operation;
weight 1 for every expert. Published on differences from the base, which A and B are. Source: Yadav et al.,
arXiv:2306.01708.
"""

import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.experts.layout import Layout


def merge_ties(experts: Tensor, layout: Layout, density: float) -> Tensor:
    """Merge experts by TIES.

    Args:
        experts: Weights [n, D].
        layout: Which tensor stands where in a row.
        density: Share of a tensor's weights that is kept, in (0, 1).

    Returns:
        Weights [D].
    """
    from peft.utils.merge_utils import ties

    weights = torch.ones(len(experts))
    return layout.flatten(
        {name: ties(list(parts), weights, density) for name, parts in layout.unstack(experts).items()}
    )


class Ties:
    """Merges all experts and asks the result."""

    title = "TIES"
    kind: Kind = "fixed"
    least = 2

    def __init__(self, density: float) -> None:
        """Take the share of the weights that is kept.

        Args:
            density: In (0, 1).
        """
        self.density = density

    def compose(self, bench: Bench) -> Composition:
        """Merge all experts with weight 1."""
        merged = merge_ties(bench.experts, bench.module.pool.layout, self.density)
        return Composition(bench.utility(merged), f"density {self.density:g}, weight 1", merged)
