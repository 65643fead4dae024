"""Model Stock: how far to go from the base to the mean of the experts, by the angle between them.

    t = n c / (1 + (n - 1) c),  c the mean cosine of two experts' differences from the base;  merged = base + t mean

Layer by layer, on what it is defined on, the differences from the base: the products B A. A mean of n products has rank
n r; it is cut back to rank r, and the table says what share of its squared length that costs. Of full checkpoints the
layers are their tensors, the differences are taken as they are and nothing is cut; without `model.base` the row is
absent. Where c is not above 0, t is 0: the experts point apart, and the base is the best guess. An expert that leaves a
layer as it is has no direction there: it counts in the mean and in n, not in c. Source: Jang et al., arXiv:2403.19522,
section 4.
"""

import math

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.low_rank import factor_pairs, inner_products, refactor
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.experts.checks import DOWN, UP
from swarm_lightning.experts.layout import Layout
from swarm_lightning.vectors import windows

PIECE = 1 << 20  # weights of each expert that are looked at together


def interpolation_ratio(products: Tensor) -> float:
    """Return how far the merged layer lies on the way from the base to the mean.

    Args:
        products: Inner products of the experts' differences from the base [n, n], n >= 2.

    Returns:
        t in [0, 1].

    >>> round(interpolation_ratio(torch.tensor([[1.0, 0.5], [0.5, 1.0]])), 4)  # 2 * 0.5 / 1.5
    0.6667
    """
    count = len(products)
    lengths = products.diagonal().clamp_min(0).sqrt()
    cosines = products / (lengths[:, None] * lengths)
    apart = ~torch.eye(count, dtype=torch.bool)
    known = cosines[apart & cosines.isfinite()]  # an expert that leaves a layer as it is has no direction
    cosine = min(max(float(known.mean()), 0.0), 1.0) if len(known) else 0.0
    return count * cosine / (1 + (count - 1) * cosine)


def model_stock(experts: Tensor, layout: Layout) -> tuple[Tensor, float, float]:
    """Merge experts by Model Stock.

    Args:
        experts: Weights [n, D], n >= 2, of A and B matrices.
        layout: Which tensor stands where in a row.

    Returns:
        Weights [D], the mean of t over the layers, and the share of squared length that cutting to rank r has cost.

    Raises:
        ValueError: If the layout holds anything else than A and B matrices.
    """
    stacked = layout.unstack(experts)
    merged, ratios, whole, lost = {}, [], 0.0, 0.0
    for layer in factor_pairs(layout):
        downs, ups = stacked[layer + DOWN], stacked[layer + UP]
        ratio = interpolation_ratio(inner_products(downs, ups))
        weights = torch.full((len(experts),), ratio / len(experts), dtype=torch.float64)
        merged[layer + DOWN], merged[layer + UP], squares, cut = refactor(downs, ups, weights)
        ratios.append(ratio)
        whole, lost = whole + squares, lost + cut
    return layout.flatten(merged), sum(ratios) / len(ratios), lost / whole if whole else 0.0


def whole_model_stock(experts: Tensor, layout: Layout, base: Tensor) -> tuple[Tensor, float]:
    """Merge full checkpoints by Model Stock, tensor by tensor.

    Args:
        experts: Weights [n, D], n >= 2.
        layout: Which tensor stands where in a row.
        base: Weights of the base [D].

    Returns:
        Weights [D], and the mean of t over the tensors that any expert has changed.
    """
    merged, ratios, first = torch.empty_like(base), [], 0
    for shape in layout.shapes:
        stop = first + math.prod(shape)
        products = torch.zeros(len(experts), len(experts), dtype=torch.float64)
        for piece in windows(first, stop, PIECE):
            differences = (experts[:, slice(*piece)] - base[slice(*piece)]).double()
            products += differences @ differences.T
        ratio = interpolation_ratio(products)
        for piece in windows(first, stop, PIECE):
            mean = experts[:, slice(*piece)].mean(dim=0)
            torch.lerp(base[slice(*piece)], mean, ratio, out=merged[slice(*piece)])
        if products.any():
            ratios.append(ratio)
        first = stop
    return merged, sum(ratios) / max(len(ratios), 1)


class ModelStock:
    """Merges all experts and asks the result."""

    title = "Model Stock"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Merge the products and cut them back to the experts' rank, or merge full checkpoints.

        Raises:
            Absent: If adapters hold anything else than A and B matrices, or full checkpoints have no base.
        """
        layout, base = bench.module.pool.layout, bench.origin()
        if base is not None:
            merged, ratio = whole_model_stock(bench.experts, layout, base)
            return Composition(bench.utility(merged), f"t = {ratio:.2f} on average", merged)
        try:
            merged, ratio, lost = model_stock(bench.experts, layout)
        except ValueError as error:
            raise Absent(str(error)) from error
        detail = f"t = {ratio:.2f} on average; the cut to the experts' rank lost {lost:.0%}"
        return Composition(bench.utility(merged), detail, merged)
