"""The products B A of LoRA experts: their angles, and the closest product of the same rank to a weighted sum of them.

Nothing of the size of the base's matrices is made: with n experts of rank r everything goes through matrices of n r
rows. Cutting a sum of n products back to rank r costs what its other singular values held; `refactor` says how much.
"""

import torch
from torch import Tensor

from swarm_lightning.experts.checks import DOWN, UP
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.products.adapter import truncate


def factor_pairs(layout: Layout) -> list[str]:
    """Return the names of the layers of a layout that holds A and B matrices and nothing else.

    Args:
        layout: Of the experts.

    Raises:
        ValueError: If it holds anything else.
    """
    downs = [name.removesuffix(DOWN) for name in layout.names if name.endswith(DOWN)]
    expected = {name + suffix for name in downs for suffix in (DOWN, UP)}
    others = sorted(expected.symmetric_difference(layout.names))
    matrices = all(len(shape) == 2 for shape in layout.shapes)
    if others or not matrices:
        raise ValueError(
            f"Expected matrices A and B for every layer and nothing else, but got {(others or layout.names)[0]!r}."
        )
    return downs


def inner_products(downs: Tensor, ups: Tensor) -> Tensor:
    """Return the inner products of all pairs of products: sum of the elements of (B_i A_i) * (B_j A_j).

    Args:
        downs: A matrices [n, r, in].
        ups: B matrices [n, out, r].

    Returns:
        [n, n] float64.

    >>> inner_products(torch.tensor([[[1.0, 2.0]], [[0.0, 1.0]]]), torch.tensor([[[1.0]], [[3.0]]])).tolist()
    [[5.0, 6.0], [6.0, 9.0]]
    """
    downs, ups = downs.double(), ups.double()
    left = torch.einsum("ior,jos->ijrs", ups, ups)
    right = torch.einsum("irk,jsk->ijrs", downs, downs)
    return (left * right).sum(dim=(2, 3))


def refactor(downs: Tensor, ups: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, float, float]:
    """Return the product of rank r that is closest to a weighted sum of products.

    Args:
        downs: A matrices [n, r, in].
        ups: B matrices [n, out, r].
        weights: Weight of every product [n].

    Returns:
        A [r, in] and B [out, r], float32, which share the singular values in equal parts; the sum of squares of the
        weighted sum; and how much of that was cut off.
    """
    rank = downs.shape[1]
    down = downs.double().flatten(0, 1)  # [n r, in]
    up = (ups.double() * weights.double()[:, None, None]).transpose(0, 1).flatten(1)  # [out, n r]
    cut_down, cut_up, squares, cut = truncate(down, up, rank)
    count = len(cut_down)  # fewer than r where a side of the layer is
    new_up = torch.zeros(ups.shape[1], rank, dtype=torch.float64)
    new_down = torch.zeros(rank, downs.shape[2], dtype=torch.float64)
    new_up[:, :count], new_down[:count] = cut_up, cut_down
    return new_down.float(), new_up.float(), squares, cut
