"""TIES: keep the largest weights of every expert, elect a sign for every place, and take the mean of those that agree.

    trimmed_i = x_i where |x_i| is among the largest `density` of its tensor's weights, else 0
    sign = sign(trimmed_1 + ... + trimmed_n);  merged = mean of the trimmed_i != 0 that have this sign

Tensor by tensor, on A and B as they stand, as PEFT's `add_weighted_adapter` does it, with PEFT's own operations; weight
1 for every expert. Weights of 0 are not counted: where ranks differ, those of the padding are no weights. Published on
differences from the base. B is one, and so is the product of B and A; A is not, as it starts from random numbers. But
a merged product has the rank of all experts together, and cutting it back would undo the choice of single weights. Of
full checkpoints x_i is what an expert adds to the base, all of it counts, and the result is added to the base; without
`model.base` the row is absent. Source: Yadav et al., arXiv:2306.01708.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.doors.peft import keep_largest, merge_by_elected_signs
from swarm_lightning.experts.layout import Layout


def merge_ties(experts: Tensor, layout: Layout, density: float, origin: Tensor | None = None) -> Tensor:
    """Merge experts by TIES.

    Args:
        experts: Weights [n, D].
        layout: Which tensor stands where in a row.
        density: Share of a tensor's weights that is kept, in (0, 1).
        origin: Weights of the base [D]; None for zeros.

    Returns:
        Weights [D].
    """

    def merge(parts: list[Tensor]) -> Tensor:
        return merge_by_elected_signs(torch.stack([trim(part, density, padded=origin is None) for part in parts]))

    return merge_differences(experts, layout, origin, merge)


def trim(tensor: Tensor, density: float, padded: bool) -> Tensor:
    """Return a tensor with its largest weights, and 0 for the others.

    Args:
        tensor: Any shape.
        density: Share of the weights that is kept, in (0, 1).
        padded: Whether weights of 0 are no weights, as in adapters that were brought to a higher rank.

    >>> trim(torch.tensor([3.0, -4.0, 0.0, 0.0]), 0.5, padded=True).tolist()
    [0.0, -4.0, 0.0, 0.0]
    """
    kept = int(density * (int(tensor.count_nonzero()) if padded else tensor.numel()))
    # Half a weight more: PEFT rounds down, and a share of a count need not come back as the count.
    return keep_largest(tensor, (kept + 0.5) / tensor.numel())


def merge_differences(
    experts: Tensor, layout: Layout, origin: Tensor | None, merge: Callable[[list[Tensor]], Tensor]
) -> Tensor:
    """Merge what experts add to a base, tensor by tensor, and add it to the base.

    Args:
        experts: Weights [n, D].
        layout: Which tensor stands where in a row.
        origin: Weights of the base [D]; None for zeros.
        merge: Makes one tensor of the n experts'.

    Returns:
        Weights [D].
    """
    merged = torch.empty_like(experts[0])
    stacked, bases = layout.unstack(experts), None if origin is None else layout.unflatten(origin)
    for name, part in layout.unflatten(merged).items():
        if bases is None:
            part.copy_(merge(list(stacked[name])))
        else:
            part.copy_(merge([expert - bases[name] for expert in stacked[name]])).add_(bases[name])
    return merged


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
        """Merge all experts with weight 1.

        Raises:
            Absent: If the experts are full checkpoints without a base.
        """
        merged = merge_ties(bench.experts, bench.module.pool.layout, self.density, bench.origin())
        return Composition(bench.utility(merged), f"density {self.density:g}, weight 1", merged)
