"""LoraHub: coefficients for a linear combination of experts, found without gradients, with a penalty on their size.

    minimise  -utility(w_1 x_1 + ... + w_n x_n) + 0.05 (|w_1| + ... + |w_n|) / n,  |w_i| <= 1.5, from w = 0

On A and B as they stand. Of full checkpoints x_i is what an expert adds to the base, and the sum is added to the base;
without `model.base` the row is absent. The optimizer is nevergrad's NGOpt, as in the authors' code; their loss is the
cross-entropy of a few examples, here it is the utility that all methods are compared by. For budgets of several hundred
combinations NGOpt puts a model of the loss around its CMA-ES; that one stops by the clock, so that a result could not
be repeated, and CMA-ES is used without it. For fewer (nevergrad 1.0.12: 250 of 5 experts, 500 of 10) it chooses
Cobyla, which draws no random numbers: then the seeds differ by their budgets only. One evaluation of the budget is kept
for what the optimizer recommends in the end. Source: Huang et al., arXiv:2307.13269, section 3, and for the penalty,
the bounds and the start github.com/sail-sg/lorahub, `lorahub/algorithm.py`.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import installed
from swarm_lightning.baselines.bench import Bench, coefficients_text, combine
from swarm_lightning.baselines.method import Composition, Kind

BOUND = 1.5
PENALTY = 0.05
LARGEST = 1e30  # of a combination that breaks the model


def loss(utility: float, weights: Tensor) -> float:
    """Return what is minimised: low utility, and large coefficients.

    Args:
        utility: Of the combination; higher is better.
        weights: Its coefficients [n].

    >>> round(loss(0.5, torch.tensor([1.0, -1.0, 0.0, 0.0])), 4)
    -0.475
    """
    return min(-utility, LARGEST) + PENALTY * float(weights.abs().mean())


def optimizer_of(count: int, budget: int, seed: int) -> Any:
    """Return the optimizer that nevergrad recommends for so many combinations.

    Args:
        count: Number of coefficients n.
        budget: How many combinations will be asked.
        seed: Seed of its random numbers.

    Returns:
        An optimizer of nevergrad with `ask`, `tell` and `provide_recommendation`.

    Raises:
        Absent: If nevergrad is not installed.
    """
    optimizers = installed("nevergrad").optimizers
    space = installed("nevergrad").p.Array(init=[0.0] * count).set_bounds(-BOUND, BOUND)
    optimizer = optimizers.NGOpt(space, budget=budget, num_workers=1)
    if "MetaModel" in optimizer.optim.name:
        optimizer = optimizers.CMA(space, budget=budget, num_workers=1)
    optimizer.parametrization.random_state.seed(seed)
    return optimizer


class LoraHub:
    """Lets nevergrad choose the coefficients."""

    title = "LoraHub"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Ask what the optimizer asks for, until the budget is spent.

        Raises:
            Absent: If nevergrad is not installed, or the experts are full checkpoints without a base.
        """
        experts, origin = bench.experts, bench.origin()

        def ask(weights: Tensor) -> float:
            return bench.utility(combine(experts, weights.unsqueeze(0), origin)[0])

        optimizer = optimizer_of(len(experts), max(bench.affordable - 1, 1), bench.seed)
        known: dict[tuple[float, ...], float] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the optimizers below, which NGOpt chooses among
                for _ in range(bench.affordable - 1):
                    candidate = optimizer.ask()
                    weights = torch.tensor(candidate.value)
                    known[tuple(weights.tolist())] = utility = ask(weights)
                    optimizer.tell(candidate, loss(utility, weights))
                weights = torch.tensor(optimizer.provide_recommendation().value)
        finally:
            del optimizer  # some run in a thread that ends with them; a process that is interrupted would wait for it
        utility = known[tuple(weights.tolist())] if tuple(weights.tolist()) in known else ask(weights)
        vector = combine(experts, weights.unsqueeze(0), origin)[0]
        return Composition(utility, coefficients_text(bench.names, weights), vector)
