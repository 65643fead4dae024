"""Experts whose A matrices are fitted anew, by what the model reads: `refit.py` with examples and a model.

A fit begins with a weighted sum of the experts: of all of them, or of those in a greedy soup. Which is better has to be
asked.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.experts.products.division import GroupedProducts
from swarm_lightning.experts.products.model import ProductModel
from swarm_lightning.experts.products.products import Products
from swarm_lightning.experts.products.refit import FOLDS, ROUNDS, refit, shares_of
from swarm_lightning.objectives.utility import utility_of


class Refit(NamedTuple):
    """Experts fitted anew.

    Attributes:
        downs: Their A matrices, layer by layer [n r, in].
        utility: Of fits that left out a fifth of the examples each, on what they had left out.
        scores: What that is made of [M].
        pairs: (model, example) pairs that were read for it.
        passes: Forward passes that it took.
    """

    downs: tuple[Tensor, ...]
    utility: float
    scores: Tensor
    pairs: int
    passes: int


def can_refit(evaluator: Evaluator) -> bool:
    """Tell whether the layers of what an evaluator asks can be listened to."""
    runner = evaluator.runner
    return isinstance(runner, ResidentRunner) and isinstance(runner.engine.adapted, ProductModel)


def refit_experts(
    evaluator: Evaluator[ResidentRunner],
    weighed: GroupedProducts,
    scores: Tensor,
    weights: Tensor,
    examples: Sequence[Example],
    ask: Callable[[int, Tensor, Tensor], Tensor],
) -> Refit:
    """Fit the second versions of experts, and leave them in the products and in the model.

    The first round reads the examples with the weighted sum of the experts, each later one with what the last has made.
    Between the first and the second, fits that leave out a part of the examples are asked these; how well experts fit
    examples that they were fitted to says little.

    Args:
        evaluator: Asks mixtures of these products by what is followed; see `can_refit`.
        weighed: Products with second versions, and their groups.
        scores: Of every expert alone on every example [n, M]; higher is better.
        weights: How much of every expert is in the sum [n]; they sum to 1, and one with 0 stays out of it.
        examples: What is read, M of them.
        ask: Asks the sum of the second versions as they are, given the number of a fold, its coefficients [C], and
            which examples [M] bool; returns scores [M].
    """
    products, groups = weighed
    model = evaluator.runner.engine.adapted
    assert isinstance(model, ProductModel)
    shares, pairs, passes = shares_of(scores, weights), 0, 0
    places = range(len(examples))
    folds = [places[fold :: min(FOLDS, len(places))] for fold in range(min(FOLDS, len(places)))]
    found = torch.empty(len(examples), dtype=torch.float64)

    def fit(candidate: Tensor, folds: Sequence[Sequence[int]] = ()) -> list[tuple[Tensor, ...]]:
        def read(turn: Callable[[int], None]) -> None:
            nonlocal pairs, passes
            pairs += len(examples)
            passes += evaluator.read(candidate, examples, turn)

        fits = refit(model, products.trained, shares, weights, read, folds)
        if evaluator.ranks.count > 1:  # the first rank's, to the last digit
            mine = float(evaluator.ranks.index == 0)
            fits = [tuple(evaluator.ranks.sum(down * mine) for down in downs) for downs in fits]
        return fits

    whole, *others = fit(groups.spread(weights.float()), folds)
    for number, (fold, downs) in enumerate(zip(folds, others, strict=True)):
        put_second(evaluator, products, downs)
        asked = torch.zeros(len(examples), dtype=torch.bool)
        asked[list(fold)] = True
        found[asked] = ask(number, groups.refitted, asked)[asked]
    put_second(evaluator, products, whole)
    for _ in range(ROUNDS - 1):
        put_second(evaluator, products, fit(groups.refitted)[0])
    downs = tuple(down.clone() for down in products.second)
    utility = utility_of(evaluator.objective, found.tolist(), examples)
    return Refit(downs, utility, found, pairs, passes)


def put_second(evaluator: Evaluator[ResidentRunner], products: Products, downs: Sequence[Tensor]) -> None:
    """Write second versions into the products and into the model that carries them.

    Args:
        evaluator: Asks mixtures of these products.
        products: With second versions.
        downs: Their A matrices, layer by layer [n r, in].
    """
    products.put_second(downs)
    model = evaluator.runner.engine.adapted
    assert isinstance(model, ProductModel)
    model.follow(products)
