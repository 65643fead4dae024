"""EvolMerge: coefficients for a linear combination of experts, by CMA-ES.

    maximise  utility(w_1 x_1 + ... + w_n x_n),  from w = 1/n with a standard deviation of 1/6

On A and B as they stand. Of full checkpoints x_i is what an expert adds to the base, and the sum is added to the base;
without `model.base` the row is absent. The published recipe evolves the weights and densities of DARE-TIES, layer group
by layer group, with the same evolution strategy and the same first standard deviation; here it is one weight per
expert, so that a small budget can move it. The strategy is the `cma` library's with its own population size, 4 + 3 ln
n; what the budget still holds then is a last generation that is only asked. Source: Akiba et al., arXiv:2403.13187,
section 3.1; Hansen, arXiv:1604.00772.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent, installed
from swarm_lightning.baselines.bench import Bench, coefficients_text
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.swarm.rules import best_of

DEVIATION = 1 / 6


class Evolved(NamedTuple):
    """What the strategy has found.

    Attributes:
        utility: The highest that it was told.
        candidates: Coefficients of the generation in which it was told that [P, n] float64.
        place: Whose they are in it.
        mean: Mean of the distribution in the end [n] float64.
        tried: How many candidates were asked.
    """

    utility: float
    candidates: Tensor
    place: int
    mean: Tensor
    tried: int


def evolve(bench: Bench, utilities_of: Callable[[Tensor], Tensor], kept: int = 0) -> Evolved:
    """Let CMA-ES ask coefficients of the experts until the budget is spent.

    Args:
        bench: Gives the number of experts, the seed, and what the budget still holds.
        utilities_of: Asks coefficients [P, n] all examples, at the budget's cost.
        kept: Whole evaluations that are kept of the budget.

    Raises:
        Absent: If cma is not installed, or the budget is too small for one generation.
    """
    cma, size = installed("cma"), len(bench.names)
    # A seed of 0 would mean the time of day.
    options = {"seed": bench.seed + 1, "verbose": -9, "tolfun": 0, "tolfunhist": 0, "tolflatfitness": 10**9}
    strategy = cma.CMAEvolutionStrategy([1 / size] * size, DEVIATION, options)
    if bench.affordable - kept < strategy.popsize:
        raise Absent(
            f"the budget of {bench.budget} evaluations is too small for a generation of {strategy.popsize} candidates "
            f"with {len(bench.examples)} examples each"
        )
    best, chosen, place, tried = -float("inf"), torch.full((1, size), 1 / size), 0, 0
    while count := min(bench.affordable - kept, strategy.popsize):
        asked: list[list[float]] = strategy.ask()[:count]
        candidates: Tensor = torch.tensor([list(candidate) for candidate in asked], dtype=torch.float64)
        utilities = utilities_of(candidates)
        if count == strategy.popsize:
            strategy.tell(asked, (-utilities).nan_to_num(posinf=1e300).tolist())
        tried += len(asked)
        found = best_of(utilities)
        if float(utilities[found]) > best:
            best, chosen, place = float(utilities[found]), candidates, found
    return Evolved(best, chosen, place, torch.tensor(list(strategy.mean), dtype=torch.float64), tried)


class EvolMerge:
    """Lets an evolution strategy choose the coefficients, and keeps the best that it has asked."""

    title = "EvolMerge"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Ask generations until the budget is spent.

        Raises:
            Absent: If cma is not installed, the budget is too small for one generation, or the experts are full
                checkpoints without a base.
        """
        origin = bench.origin()
        found = evolve(bench, lambda weights: bench.utilities(bench.combinations(weights, origin)))
        named = coefficients_text(bench.names, found.candidates[found.place])
        # Combined alone it could differ in the last digit from what was asked, and a reply with it.
        vector = bench.combinations(found.candidates, origin)[found.place][:].clone()
        return Composition(found.utility, f"best of {found.tried}: {named}", vector)
