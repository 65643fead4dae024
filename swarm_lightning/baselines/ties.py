"""TIES: keep the largest weights of every expert, elect a sign for every place, and take the mean of those that agree.

    trimmed_i = x_i where |x_i| is among the largest `density` of its tensor's weights, else 0
    sign = sign(trimmed_1 + ... + trimmed_n);  merged = mean of the trimmed_i != 0 that have this sign

Tensor by tensor, on A and B as they stand, as PEFT's `add_weighted_adapter` does it, with PEFT's own operations; weight
1 for every expert. Weights of 0 are not counted: where ranks differ, those of the padding are no weights. Published on
differences from the base. B is one, and so is the product of B and A; A is not, as it starts from random numbers. But
a merged product has the rank of all experts together, and cutting it back would undo the choice of single weights.
Source: Yadav et al., arXiv:2306.01708.
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
        density: Share of a tensor's weights other than 0 that is kept, in (0, 1).

    Returns:
        Weights [D].
    """
    from peft.utils.merge_utils import calculate_majority_sign_mask, disjoint_merge

    merged = {}
    for name, parts in layout.unstack(experts).items():
        trimmed = torch.stack([trim(part, density) for part in parts])
        merged[name] = disjoint_merge(trimmed, calculate_majority_sign_mask(trimmed))
    return layout.flatten(merged)


def trim(tensor: Tensor, density: float) -> Tensor:
    """Return a tensor with its largest weights, and 0 for the others.

    Args:
        tensor: Any shape.
        density: Share of the weights other than 0 that is kept, in (0, 1).

    >>> trim(torch.tensor([3.0, -4.0, 0.0, 0.0]), 0.5).tolist()
    [0.0, -4.0, 0.0, 0.0]
    """
    from peft.utils.merge_utils import prune

    kept = int(density * int(tensor.count_nonzero()))
    # Half a weight more: PEFT rounds down, and a share of a count need not come back as the count.
    return prune(tensor, (kept + 0.5) / tensor.numel(), "magnitude")


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
