"""Random linear combinations, as many as the budget holds: what any search has to beat.

    w = 1/n + s (d - 1/n),  d ~ Dirichlet(0.3, ..., 0.3) and s ~ U(0, 2);  x = w_1 x_1 + ... + w_n x_n

The coefficients sum to one; s below 1 interpolates, above 1 extrapolates, as the swarm's first children do. With 0.3,
about three experts of ten make up most of a combination: the uniform soup and a single expert are both within reach. On
A and B, or all weights of full checkpoints, as they stand: as the coefficients sum to one, it makes no difference what
is taken as the origin. A candidate is asked only until it can't be the best any more; only pairs that were asked count.
"""

import math

import numpy
import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.swarm.rules import best_of

CONCENTRATION = 0.3
SPAN = 2.0
AT_ONCE = 20
REMEMBERED = 200  # candidates whose scores say which examples are hard


def draw_weights(count: int, experts: int, generator: numpy.random.Generator) -> Tensor:
    """Draw coefficients that sum to one.

    Args:
        count: How many combinations P.
        experts: Number of experts n.
        generator: Source of the random numbers.

    Returns:
        Coefficients [P, n] float64.
    """
    simplex = generator.dirichlet(numpy.full(experts, CONCENTRATION), count)
    stretch = generator.uniform(0, SPAN, (count, 1))
    return torch.from_numpy(1 / experts + stretch * (simplex - 1 / experts))


class RandomSearch:
    """Draws combinations and keeps the best."""

    title = "random search"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Ask combinations until the budget is spent."""
        experts, generator = bench.experts, numpy.random.default_rng(bench.seed)
        best, chosen, place = -math.inf, draw_weights(1, len(experts), generator), 0
        scores: list[Tensor] = []
        tried = 0
        while count := min(bench.affordable, AT_ONCE):
            drawn = draw_weights(count, len(experts), generator)
            expected = torch.stack(scores).nanmean(dim=0).nan_to_num() if scores else torch.zeros(len(bench.examples))
            evaluation = bench.above(bench.combinations(drawn), best, expected)
            scores = [*scores, *evaluation.scores][-REMEMBERED:]
            tried += count
            found = best_of(evaluation.utilities)
            if float(evaluation.utilities[found]) > best:
                best, chosen, place = float(evaluation.utilities[found]), drawn, found
        # Combined alone it could differ in the last digit from what was asked, and a reply with it.
        return Composition(best, f"best of {tried}", bench.combinations(chosen)[place][:].clone())
