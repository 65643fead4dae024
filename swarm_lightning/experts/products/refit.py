"""The experts' A matrices fitted anew, so that each expert acts on inputs like those of the examples it answers best.

A sum of products lets every expert act on every input. But experts differ in what they know, and a layer's input tells
much of what is asked. So the sum is made the linear map that is, on the inputs X_e of every example e, as close as can
be to the product of whichever expert answers e best, and elsewhere to the plain weighted sum:

    minimise over W: sum over e, i of s_ie |(W - B_i A_i) X_e|^2 / T_e  +  ridge sum over i of c_i |W - B_i A_i|^2

with shares s_ie that sum to 1 over the experts, weights c_i that do too, and T_e tokens in example e. The minimum is

    W = sum over i of B_i A'_i,    A'_i = A_i (G_i + ridge c_i I) (G + ridge I)^-1,
    G_i = sum over e of s_ie X_e X_e^T / T_e,    G = sum over i of G_i

so every expert keeps its B and its rank, and only its A changes. It takes forward passes and no gradients, and of every
layer one matrix of its inputs' size. The inputs are those of a model that has the layers' sums in it already, so that a
second round sees what the first one has changed. What the first round sums up can leave out any part of the examples,
so that a fit can be judged on examples that it has not seen.

Sources: RegMean, Jin et al., arXiv:2212.09849, for the regression, in which every expert has examples of its own;
RegMean++, Nguyen et al., arXiv:2508.03121, for inputs of the merged model.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from swarm_lightning.experts.products.model import ProductModel
from swarm_lightning.experts.products.products import Products

SHARPNESS = 10.0  # how strongly better answers count, per standard deviation of the experts' scores on an example
RIDGE = 0.003  # of the mean square of a layer's inputs
ROUNDS = 2
FOLDS = 5  # parts of the examples that are left out in turn
MOST_BYTES = 8 * 2**30  # of the inputs' matrices that are held at a time


def shares_of(scores: Tensor, weights: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """Return how much of every example belongs to which expert: the softmax of their scores, times the weights.

    Scores are compared in standard deviations of the experts' scores on the same example, so their unit does not
    matter. Where no expert differs from the others, the weights decide.

    Args:
        scores: Of n experts on M examples [n, M]; one that is not finite gets no share.
        weights: Of the experts [n], none negative; one of weight 0 gets no share.
        sharpness: How strongly better answers count; infinity gives the example to the best expert.

    Returns:
        Shares [n, M] float64, which sum to 1 over the experts.

    >>> shares_of(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([0.25, 0.75])).round(decimals=2).tolist()
    [[0.25, 1.0], [0.75, 0.0]]
    """
    scores = scores.double()
    known = scores.where(scores.isfinite(), math.nan)
    deviations = known - known.nanmean(dim=0)
    spread = deviations.square().nanmean().sqrt()
    if spread > 0:
        deviations = deviations / spread
    finite = scores.isfinite() & (weights > 0)[:, None]
    none = ~finite.any(dim=0)
    logits = (weights.double().log()[:, None] + sharpness * deviations).where(finite, -math.inf)
    return torch.softmax(torch.where(none, weights.double().log()[:, None], logits), dim=0)


def refit(
    model: ProductModel,
    products: Products,
    shares: Tensor,
    weights: Tensor,
    read: Callable[[Callable[[int], None]], None],
    folds: Sequence[Sequence[int]] = (),
    ridge: float = RIDGE,
) -> list[tuple[Tensor, ...]]:
    """Fit the A matrices of experts anew.

    Args:
        model: Whose layers are listened to while examples are read; what it carries stays as it is.
        products: Of n experts, as they were trained.
        shares: How much of every example belongs to which expert [n, M].
        weights: How much of every expert is in the sum where no example says anything [n]; they sum to 1.
        read: Lets the model read all examples one after the other, and tells before each which one it is. It is called
            more than once where memory does not hold the inputs' matrices of all layers.
        folds: Parts of the examples that are left out in turn, by their places; together all of them, each once.
        ridge: How much that sum counts, in parts of the mean square of a layer's inputs; > 0.

    Returns:
        The fit to all examples, then one without each of the folds: for every layer the new A matrices one below the
        other [n r, in], float32 on the CPU. A layer whose inputs are not finite, or that reads nothing, gets its own
        times the weights.
    """
    fold_of = {example: fold for fold, members in enumerate(folds) for example in members}
    count = max(len(folds), 1)
    fits: list[list[Tensor]] = [[] for _ in range(1 + len(folds))]
    for layers in _portions([down.shape[1] for down in products.downs], MOST_BYTES // count):
        heard = _Inputs(products, layers, shares, [fold_of.get(example, 0) for example in range(shares.shape[1])])
        with model.heard(heard.take):
            read(heard.turn)
        for place in layers:
            for left_out, fit in zip([None, *range(len(folds))], fits, strict=True):
                fit.append(heard.solve(place, weights, ridge, left_out))
    return [tuple(fit) for fit in fits]


def evaluations_of(products: Products) -> int:
    """Return how many whole evaluations a fit costs: how often it reads all examples, and once for what it leaves out.

    Args:
        products: Of the experts. With wide layers memory does not hold the inputs' matrices of all of them at a time.

    >>> products = Products(("a",), ("q", "v"), (torch.ones(1, 4096), torch.ones(1, 4096)), (), {})
    >>> evaluations_of(products)
    3
    """
    widths = [down.shape[1] for down in products.downs]
    first, later = (len(_portions(widths, MOST_BYTES // count)) for count in (FOLDS, 1))
    return first + (ROUNDS - 1) * later + 1


def bytes_of(products: Products) -> int:
    """Return the memory that a fit takes at most, beside the model and the products.

    Args:
        products: Of the experts.

    >>> bytes_of(Products(("a",), ("q",), (torch.ones(2, 10),), (torch.ones(5, 2),), {}))
    5280
    """
    sizes = [8 * FOLDS * (down.shape[1] ** 2 + down.numel()) for down in products.downs]
    portions = _portions([down.shape[1] for down in products.downs], MOST_BYTES // FOLDS)
    fitted = sum(down.nbytes for down in products.downs)
    return max(sum(sizes[place] for place in portion) for portion in portions) + (1 + FOLDS) * fitted


class _Inputs:
    """Sums up what layers read: all that the regression needs to know of it."""

    def __init__(self, products: Products, layers: range, shares: Tensor, folds: Sequence[int]) -> None:
        self._products, self._layers, self._shares, self._folds = products, layers, shares.double(), folds
        self._example = 0
        # Of every layer, fold by fold: A_i G_i one below the other, and G, which layers with the same inputs share.
        self._own: dict[int, dict[int, Tensor]] = {}
        self._whole: dict[int, dict[int, Tensor]] = {}
        self._last: tuple[int, Tensor, Tensor] | None = None
        self._same_as: dict[int, int] = {}
        self._factors: dict[tuple[int, int | None], Tensor] = {}  # of the layers that were solved last

    def turn(self, example: int) -> None:
        """Know which example is read next."""
        self._example, self._last = example, None

    def take(self, place: int, inputs: Tensor) -> None:
        """Add what a layer reads [..., in]."""
        if place not in self._layers or not inputs.numel():
            return
        fold = self._folds[self._example]
        exact = torch.float32 if inputs.device.type == "mps" else torch.float64
        if self._last is not None and inputs is self._last[1]:  # as for the queries, keys and values of one layer
            self._same_as[place] = self._same_as.get(self._last[0], self._last[0])
            rows = self._last[2]
        else:
            rows = inputs.detach().reshape(-1, inputs.shape[-1]).to(exact)
            _add(self._whole.setdefault(place, {}), fold, rows.T @ rows / len(rows))
        self._last = (place, inputs, rows)
        down = self._products.downs[place].to(rows)
        shares = self._shares[:, self._example].to(rows).repeat_interleave(len(down) // len(self._shares))
        _add(self._own.setdefault(place, {}), fold, (rows @ down.T * (shares / len(rows))).T @ rows)

    def solve(self, place: int, weights: Tensor, ridge: float, left_out: int | None) -> Tensor:
        """Return the new A matrices of a layer [n r, in], without what the examples of one fold say."""
        down = self._products.downs[place].double()
        plain = down * weights.double().repeat_interleave(len(down) // len(weights))[:, None]
        first = self._same_as.get(place, place)  # of the layers with the same inputs
        owns, wholes = self._own.get(place, {}), self._whole.get(first, {})
        folds = [fold for fold in owns if fold != left_out]
        if not folds:
            return plain.float()
        own, whole = (torch.stack([sums[fold] for fold in folds]).sum(dim=0).cpu().double() for sums in (owns, wholes))
        scale = ridge * whole.trace() / len(whole)
        if not (own.isfinite().all() and whole.isfinite().all() and scale > 0):
            return plain.float()
        if (first, left_out) not in self._factors:
            self._factors = {key: factor for key, factor in self._factors.items() if key[0] == first}
            self._factors[first, left_out] = torch.linalg.cholesky(whole + scale * torch.eye(len(whole)).double())
        return torch.cholesky_solve((own + scale * plain).T, self._factors[first, left_out]).T.float().contiguous()


def _add(sums: dict[int, Tensor], fold: int, summand: Tensor) -> None:
    sums[fold] = sums[fold].add_(summand) if fold in sums else summand


def _portions(sizes: Sequence[int], most: int) -> list[range]:
    """Divide layers into stretches whose matrices [in, in] fit in so many bytes; each holds one at least."""
    portions, start, held = [], 0, 0
    for place, size in enumerate(sizes):
        if place > start and held + 8 * size * size > most:
            portions.append(range(start, place))
            start, held = place, 0
        held += 8 * size * size
    return [*portions, range(start, len(sizes))]
