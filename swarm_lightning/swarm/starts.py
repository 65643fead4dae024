"""Where a search for coefficients begins: the best of a few sums of the experts that need no search.

In the order in which they are tried, each only where the budget holds it: the experts alone, which have been asked
already; the mean of what they add to the base, and the mean with experts fitted anew (`refit.py`) where that is wanted;
their greedy soup, of as many of the best as it holds, and that with experts fitted anew; and their sum times a few
scales. Sums that are much larger than the mean made every measured pool worse, so the scales lie around it. Of equal
ones the earlier stays.
Sources: task arithmetic, arXiv:2212.04089; greedy soup, `soups.py`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.swarm.soups import greedy_soup, soup_of

# What the sum of the experts is multiplied with, in parts of 1 / n: 1 is their mean.
SCALES = (0.5, 1.5, 2.0)


class SumOfExperts(NamedTuple):
    """A sum of the experts that was asked in full.

    Attributes:
        name: What it is.
        weights: How much of each expert is in it [n].
        utility: Its utility.
        refitted: Whether the experts were fitted anew for it.
        scores: Then those that its utility is made of [M].
    """

    name: str
    weights: Tensor
    utility: float
    refitted: bool = False
    scores: Tensor | None = None


class Starts(NamedTuple):
    """What a search could begin with.

    Attributes:
        tried: All that were asked; the best expert is the first.
        left_out: Names of those that the budget did not hold.
    """

    tried: list[SumOfExperts]
    left_out: list[str]

    @property
    def fits(self) -> list[SumOfExperts]:
        """Those with experts fitted anew, in the order in which they were tried: that of all experts first."""
        return [start for start in self.tried if start.refitted]

    @property
    def best_fit(self) -> int | None:
        """The place of the best among the fits; None where it is none of them."""
        best = self.best
        return next((place for place, start in enumerate(self.fits) if start is best), None)

    @property
    def best(self) -> SumOfExperts:
        """The one with the highest utility, the first of equals; one that is not finite counts lowest.

        Of two with experts fitted anew, that of all experts stands before that of a soup, unless this one is better by
        more than a standard error of the difference, or an unfitted one is better than the first: steps have more to
        move where all experts have a part.
        """
        best = max(self.tried, key=_utility)
        if not best.refitted or best is self.fits[0]:
            return best
        mean = self.fits[0]
        plain = max(_utility(start) for start in self.tried if not start.refitted)
        return mean if _utility(mean) >= plain and _within_noise(best, mean) else best


class Refitting(NamedTuple):
    """How experts are fitted anew.

    Attributes:
        utility_of: Fits the experts in a sum of weights [n], and returns its utility and the scores [M] that this is
            made of.
        cost: How many sums could be asked in place of it.
    """

    utility_of: Callable[[Tensor], tuple[float, Tensor]]
    cost: int


def starts_of(
    names: Sequence[str],
    utilities: Tensor,
    utilities_of: Callable[[Tensor], Tensor],
    affordable: int,
    refitting: Refitting | None = None,
) -> Starts:
    """Try sums of the experts.

    Args:
        names: Of the n experts.
        utilities: Of each alone [n]; NaN for one that is not known.
        utilities_of: Returns the utilities [P] of weights [P, n].
        affordable: How many sums may be asked.
        refitting: How experts are fitted anew; None where they are not.

    >>> worth = lambda weights: 1 - (weights - torch.tensor([0.5, 0.5, 0.0])).square().sum(dim=1)
    >>> starts = starts_of("abc", worth(torch.eye(3)), worth, affordable=6)
    >>> starts.best.name, [start.name for start in starts.tried][:2]
    ('greedy soup of a, b', ['best expert a', 'mean of 3'])
    """
    count = len(names)
    alone = torch.eye(count)
    known = utilities.nan_to_num(nan=-torch.inf)
    best = int(known.argmax())
    tried = [SumOfExperts(f"best expert {names[best]}", alone[best], float(known[best]))]
    left_out: list[str] = []
    mean = torch.full((count,), 1 / count)

    def ask(weights: Tensor) -> list[float]:
        nonlocal affordable
        affordable -= len(weights)
        return [float(utility) for utility in utilities_of(weights)]

    if affordable >= 1:
        tried.append(SumOfExperts(f"mean of {count}", mean, ask(mean[None])[0]))
    else:
        left_out.append("mean")

    def try_refit(start: SumOfExperts) -> None:
        nonlocal affordable
        if refitting is None or any(one.refitted and one.weights.equal(start.weights) for one in tried):
            return
        name = f"{start.name} (fitted anew)"
        if affordable < refitting.cost:
            left_out.append(name)
            return
        affordable -= refitting.cost
        utility, scores = refitting.utility_of(start.weights)
        tried.append(SumOfExperts(name, start.weights, utility, refitted=True, scores=scores))

    try_refit(SumOfExperts(f"mean of {count}", mean, 0.0))
    tries = min(count - 1, affordable)
    if tries >= 1:
        chosen, utility = greedy_soup(alone, known, lambda soup: ask(soup[None])[0], tries)
        named = ", ".join(names[place] for place in chosen)
        tried.append(SumOfExperts(f"greedy soup of {named}", soup_of(alone, chosen), utility))
        if len(chosen) > 1:
            try_refit(tried[-1])
    if tries < count - 1:
        left_out.append("greedy soup" if tries < 1 else f"greedy soup of more than the best {tries + 1}")
    if affordable >= len(SCALES):
        sums = torch.stack([scale * mean for scale in SCALES])
        found = zip(SCALES, sums, ask(sums), strict=True)
        tried += [
            SumOfExperts(f"{scale:g} times the mean of {count}", weights, utility) for scale, weights, utility in found
        ]
    else:
        left_out.append("scaled sums")
    return Starts(tried, left_out)


def _utility(start: SumOfExperts) -> float:
    return -math.inf if math.isnan(start.utility) else start.utility


def _within_noise(better: SumOfExperts, other: SumOfExperts) -> bool:
    """Tell whether one is better by no more than a standard error of the mean difference of their scores."""
    assert better.scores is not None
    assert other.scores is not None
    differences = better.scores.double() - other.scores.double()
    error = float(differences.std()) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return float(differences.mean()) <= error
