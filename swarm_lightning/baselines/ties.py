"""TIES and DARE-TIES: elect a sign for every place, and take the mean of those experts that agree.

    TIES: kept_i = x_i where |x_i| is among the largest `density` of its tensor's weights, else 0
    DARE-TIES: kept_i = x_i with probability `density`, divided by it, else 0
    sign = sign(kept_1 + ... + kept_n);  merged = mean of the kept_i != 0 that have this sign

Tensor by tensor, on A and B as they stand, as PEFT's `add_weighted_adapter` does it, with PEFT's own operations; weight
1 for every expert. In TIES weights of 0 are not counted: where ranks differ, those of the padding are no weights.
Published on differences from the base. B is one, and so is the product of B and A; A is not, as it starts from random
numbers. But a merged product has the rank of all experts together, and cutting it back would undo the choice of single
weights. Of full checkpoints x_i is what an expert adds to the base, all of it counts, and the result is added to the
base; without `model.base` the row is absent. Source: Yadav et al., arXiv:2306.01708; Yu et al., arXiv:2311.03099.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.doors.peft import keep_at_random, keep_largest, merge_by_elected_signs
from swarm_lightning.experts.layout import Layout

# Given the experts [n, D], their layout, the base [D] where there is one, and a seed: the merged weights [D].
Merge = Callable[[Tensor, Layout, Tensor | None, int], Tensor]


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
    return merge_by_signs(experts, layout, origin, lambda part: trim(part, density, padded=origin is None))


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
        return merge_by_signs(experts, layout, origin, lambda part: keep_at_random(part, density))


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


def merge_by_signs(experts: Tensor, layout: Layout, origin: Tensor | None, keep: Callable[[Tensor], Tensor]) -> Tensor:
    """Merge what is kept of experts' differences from a base, tensor by tensor, and add it to the base.

    Args:
        experts: Weights [n, D].
        layout: Which tensor stands where in a row.
        origin: Weights of the base [D]; None for zeros.
        keep: Returns a tensor of an expert with what is kept of it, and 0 for the rest.

    Returns:
        Weights [D].
    """
    merged = torch.empty_like(experts[0])
    stacked, bases = layout.unstack(experts), None if origin is None else layout.unflatten(origin)
    for name, part in layout.unflatten(merged).items():
        base = None if bases is None else bases[name]
        differences = [expert if base is None else expert - base for expert in stacked[name]]
        part.copy_(merge_by_elected_signs(torch.stack([keep(difference) for difference in differences])))
        if base is not None:
            part.add_(base)
    return merged


class MergeBySigns:
    """Merges all experts with weight 1 and asks the result.

    Attributes:
        title: What it is called in the table.
        kind: Whether it has random numbers in it.
        density: Share of the weights that is kept, in (0, 1).
    """

    least = 2

    def __init__(self, title: str, kind: Kind, density: float, merge: Merge) -> None:
        """Take what tells one from another; see `ties` and `dare_ties`."""
        self.title, self.kind, self.density = title, kind, density
        self._merge = merge

    def compose(self, bench: Bench) -> Composition:
        """Merge all experts.

        Raises:
            Absent: If the experts are full checkpoints without a base.
        """
        merged = self._merge(bench.experts, bench.module.pool.layout, bench.origin(), bench.seed)
        return Composition(bench.utility(merged), f"density {self.density:g}, weight 1", merged)


def ties(density: float) -> MergeBySigns:
    """Return TIES.

    Args:
        density: Share of the weights that is kept, in (0, 1).
    """
    return MergeBySigns(
        "TIES", "fixed", density, lambda experts, layout, origin, _: merge_ties(experts, layout, density, origin)
    )


def dare_ties(density: float) -> MergeBySigns:
    """Return DARE-TIES.

    Args:
        density: Share of the weights that is kept, in (0, 1).
    """
    return MergeBySigns(
        "DARE-TIES",
        "drawn",
        density,
        lambda experts, layout, origin, seed: merge_dare_ties(experts, layout, density, seed, origin),
    )
