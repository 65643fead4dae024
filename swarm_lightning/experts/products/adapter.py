"""A weighted sum of products as one adapter: exact with the summed rank, or cut back to a smaller one.

Nothing of the size of the base's matrices is made: a sum of n products of rank r goes through matrices of n r rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.experts.checks import DOWN, PREFIX, UP
from swarm_lightning.experts.common_form import size_settings
from swarm_lightning.experts.products.products import Groups, Products


@dataclass(frozen=True)
class ProductAdapter:
    """One adapter, ready to be written.

    Attributes:
        tensors: By their names in an adapter's file, float32 on the CPU.
        config: Content of `adapter_config.json` with which PEFT scales every product by 1.
        errors: For every layer, how much of the sum the adapter lacks: the Frobenius norm of the difference over that
            of the sum; 0 where it is exact.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    errors: Mapping[str, float]


def product_adapter(
    products: Products, groups: Groups, coefficients: Tensor, rank: int | None = None
) -> ProductAdapter:
    """Make the adapter of a weighted sum of products.

    What has the coefficient 0 is left out, so that experts without a part cost no rank. The coefficients are multiplied
    into B.

    Args:
        products: Of n experts.
        groups: Which coefficient belongs where.
        coefficients: Of one particle [C].
        rank: The most that the adapter may have in any layer; None for as much as it takes.

    Raises:
        ValueError: If the coefficients' shape is not [C], or the rank is below 1.
    """
    if rank is not None and rank < 1:
        raise ValueError(f"Expected a rank of 1 or more, but got {rank}.")
    scales = groups.scales(coefficients.detach().to("cpu", torch.float64).unsqueeze(0))
    tensors, ranks, errors = {}, {}, {}
    for layer, down, up, (scale,) in zip(products.layers, products.downs, products.ups, scales, strict=True):
        down, up = weighted(down, up, scale)
        errors[layer] = 0.0
        if rank is not None and len(down) > rank:
            down, up, squares, cut = truncate(down, up, rank)
            errors[layer] = (cut / squares) ** 0.5 if squares else 0.0
        tensors[f"{PREFIX}{layer}{DOWN}"] = down.float().contiguous()
        tensors[f"{PREFIX}{layer}{UP}"] = up.float().contiguous()
        ranks[layer] = len(down)
    return ProductAdapter(tensors, {**products.config, **size_settings(ranks, 1.0)}, errors)


def weighted(down: Tensor, up: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply the columns of B and leave out those that become 0, or whose rows of A are 0, with these.

    Args:
        down: A matrix [R, in].
        up: B matrix [out, R].
        scale: A factor for every column [R], float64.

    Returns:
        A [k, in] and B [out, k], float64; where nothing is left, one row and one column of zeros.

    >>> down, up = weighted(torch.tensor([[1.0], [5.0]]), torch.tensor([[2.0, 7.0]]), torch.tensor([0.5, 0.0]).double())
    >>> down.tolist(), up.tolist()
    ([[1.0]], [[1.0]])
    """
    up = up.double() * scale
    kept = up.any(dim=0) & down.any(dim=1)
    kept[0] |= not kept.any()
    return down.double()[kept], up[:, kept]


def truncate(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor, float, float]:
    """Return the product of a smaller rank that is closest to a product.

    Args:
        down: A matrix [R, in], float64.
        up: B matrix [out, R], float64.
        rank: The most that the new product may have.

    Returns:
        A [k, in] and B [out, k], float64, which share the singular values in equal parts, with k = min(rank, R, in,
        out); the sum of squares of the product; and how much of that was cut off.

    Source: Eckart and Young 1936.
    """
    up_basis, up_core = torch.linalg.qr(up)
    down_basis, down_core = torch.linalg.qr(down.T)
    left, singular, right = torch.linalg.svd(up_core @ down_core.T, full_matrices=False)
    roots = singular[:rank].sqrt()
    squares = singular.square()
    new_down = roots[:, None] * (right[:rank] @ down_basis.T)
    return new_down, up_basis @ left[:, :rank] * roots, float(squares.sum()), float(squares[rank:].sum())
