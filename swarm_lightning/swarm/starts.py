"""Where a search for coefficients begins: the best of a few sums of the experts that need no search.

Each is tried only where the budget holds it: the experts alone, which have been asked already; their greedy soup; the
mean of what they add to the base; the soup times 1.5, as what few experts add is more than a mean of them; and the sum
of all times a few scales. Sums that are much larger than the mean made every measured pool worse, so the scales lie
around it. Of equal ones the simpler stays.

A guide can rank the sums of a pool well and yet hold a mixture above the one expert that answers right: a mean
log-likelihood rises where a mixture is less sure of its mistakes. So where a guide is followed, the objective has a say
in where the search begins (`settle`). Sources: task arithmetic, arXiv:2212.04089; greedy soup, `soups.py`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.swarm.soups import greedy_soup, soup_of

# What the sum of the experts is multiplied with, in parts of 1 / n: 1 is their mean.
SCALES = (0.5, 1.5, 2.0)
SOUP_SCALE = 1.5


class SumOfExperts(NamedTuple):
    """A sum of the experts that was asked in full.

    Attributes:
        name: What it is.
        weights: How much of each expert is in it [n].
        utility: Its utility.
    """

    name: str
    weights: Tensor
    utility: float


class Starts(NamedTuple):
    """What a search could begin with.

    Attributes:
        tried: All that were asked, from the simplest on; the best expert is the first.
        left_out: Names of those that the budget did not hold.
        asked: How many sums were asked, the rounds of the soup among them.
    """

    tried: list[SumOfExperts]
    left_out: list[str]
    asked: int

    @property
    def best(self) -> SumOfExperts:
        """The one with the highest utility, the first of equals; one that is not finite counts lowest."""
        return max(self.tried, key=lambda start: -math.inf if math.isnan(start.utility) else start.utility)


def starts_of(
    names: Sequence[str], utilities: Tensor, utilities_of: Callable[[Tensor], Tensor], affordable: int
) -> Starts:
    """Try sums of the experts.

    Args:
        names: Of the n experts.
        utilities: Of each alone [n]; NaN for one that is not known.
        utilities_of: Returns the utilities [P] of weights [P, n].
        affordable: How many sums may be asked.

    >>> worth = lambda weights: 1 - (weights - torch.tensor([0.5, 0.5, 0.0])).square().sum(dim=1)
    >>> starts = starts_of("abc", worth(torch.eye(3)), worth, affordable=7)
    >>> starts.best.name, [start.name for start in starts.tried][:2]
    ('greedy soup of a, b', ['best expert a', 'mean of 3'])
    """
    count = len(names)
    alone = torch.eye(count)
    known = utilities.nan_to_num(nan=-torch.inf)
    mean = torch.full((count,), 1 / count)
    asked = 0
    soups: list[SumOfExperts] = []
    means: list[SumOfExperts] = []
    left_out: list[str] = []

    def ask(weights: Tensor) -> list[float]:
        nonlocal asked
        asked += len(weights)
        return [float(utility) for utility in utilities_of(weights)]

    def affords(sums: int, name: str) -> bool:
        if asked + sums <= affordable:
            return True
        left_out.append(name)
        return False

    if affords(count - 1, "greedy soup"):
        chosen, utility = greedy_soup(alone, known, lambda soup: ask(soup[None])[0])
        named, weights = ", ".join(names[place] for place in chosen), soup_of(alone, chosen)
        soups.append(SumOfExperts(f"greedy soup of {named}", weights, utility))
    if affords(1, "mean"):
        means.append(SumOfExperts(f"mean of {count}", mean, ask(mean[None])[0]))
    if soups and affords(1, "scaled soup"):
        weights = SOUP_SCALE * soups[0].weights
        soups.append(SumOfExperts(f"{SOUP_SCALE:g} times the {soups[0].name}", weights, ask(weights[None])[0]))
    scaled: list[SumOfExperts] = []
    if affords(len(SCALES), "scaled sums"):
        sums = torch.stack([scale * mean for scale in SCALES])
        found = zip(SCALES, sums, ask(sums), strict=True)
        scaled = [
            SumOfExperts(f"{scale:g} times the mean of {count}", weights, utility) for scale, weights, utility in found
        ]
    return Starts([expert_alone(names, int(known.argmax()), known), *means, *soups, *scaled], left_out, asked)


def expert_alone(names: Sequence[str], place: int, utilities: Tensor) -> SumOfExperts:
    """Return an expert as a sum of one.

    Args:
        names: Of the n experts.
        place: Which one.
        utilities: Of each alone [n].
    """
    return SumOfExperts(f"best expert {names[place]}", torch.eye(len(names))[place], float(utilities[place]))


def settle(
    starts: Starts,
    names: Sequence[str],
    by_guide: Tensor,
    by_objective: Tensor,
    worth_of: Callable[[Tensor], float],
) -> SumOfExperts:
    """Return where a search that follows a guide begins: the guide's best, or the best expert of the objective.

    It is the one that both together hold higher, each in standard deviations among the experts; the guide's best where
    they are level.

    Args:
        starts: What was tried by the guide.
        names: Of the n experts.
        by_guide: Of each alone [n].
        by_objective: The same [n].
        worth_of: Returns the objective's utility of weights [n]; called once, unless both are the same expert.

    >>> by_guide, by_objective = torch.tensor([-2.0, -3.0, -4.0]), torch.tensor([0.4, 0.2, 0.3])
    >>> soup = SumOfExperts("soup", torch.tensor([0.5, 0.5, 0.0]), -1.9)
    >>> settle(Starts([soup], [], 1), "abc", by_guide, by_objective, lambda weights: 0.25).name
    'best expert a'
    """
    best, finite = starts.best, by_guide.isfinite() & by_objective.isfinite()
    if not finite.any():
        return best
    expert = expert_alone(names, int(by_objective.masked_fill(~finite, -torch.inf).argmax()), by_guide)
    if best.weights.equal(expert.weights):
        return best

    def together(guide: float, objective: float) -> float:
        of_guide, of_objective = deviations(guide, by_guide[finite]), deviations(objective, by_objective[finite])
        return of_guide + of_objective

    of_expert = together(expert.utility, float(by_objective[finite].max()))
    of_best = together(best.utility, worth_of(best.weights))
    return expert if of_expert > of_best or not math.isfinite(of_best) else best


def deviations(utility: float, utilities: Tensor) -> float:
    """Return how many standard deviations a utility lies above the mean of others; 0 where these are all equal.

    >>> deviations(3.0, torch.tensor([0.0, 2.0]))
    2.0
    """
    spread = float(utilities.double().std(correction=0))
    return (utility - float(utilities.double().mean())) / spread if spread > 0 else 0.0
