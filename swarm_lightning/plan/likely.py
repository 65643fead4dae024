"""How long a search is likely to go on, and how much the exact stop is likely to leave out of it.

Theory where there is one, and for the rest what searches of the demo world have done. The global best rises in an
iteration with a chance that falls from iteration to iteration; from it follows, exactly, how likely patience ends the
search at which iteration. What a particle that can't matter need not be asked is at most the distance from the global
worst to its personal best, in shares of the scores' span (`evaluation/exact_stop.py`); particles that do matter are
asked everything, and how many those are falls from iteration to iteration too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Rises(NamedTuple):
    """The chance that the global best of 20 particles rises in iteration k, first exp(-k / fades) + later."""

    first: float
    fades: float
    later: float


FITTED_PARTICLES = 20
# Where replies are right or wrong: fitted to where 40 searches of `benchmarks/results/early_stop.md` have ended (4
# tasks, 5 seeds, with and without repel; 11 to 29 iterations at a patience of 10). Of 27 others, with drawn
# coefficients or on a second world (`tests/plan/test_likely.py` lists them), 25 lie in its span. The likely number of
# evaluations is within 20% for 21 of the 27, and no number is for more than 23: the seed decides too.
RIGHT_OR_WRONG = Rises(1.5, 3.0, 0.02)
# Where scores have many values, the best goes on to rise by little: fitted to 9 searches by the likelihood of texts on
# the demo world (4 tasks, seeds 1 to 3, 50 examples; 14 to 33 iterations at a patience of 10).
GRADED = Rises(4.0, 3.0, 0.04)
FEW_VALUES = 3  # right, wrong and abstained


@dataclass(frozen=True)
class Span:
    """A number that is not known: four of five searches lie from `low` to `high`, half of them below `likely`."""

    low: float
    likely: float
    high: float

    def times(self, factor: float, plus: float = 0.0) -> "Span":
        """Return `factor` times the number, `plus` another one."""
        return Span(*(factor * value + plus for value in (self.low, self.likely, self.high)))


def graded(scores: Tensor) -> bool:
    """Tell whether scores have more values than right, wrong and abstained.

    Args:
        scores: Of any shape; NaN where nothing was asked.

    >>> import torch
    >>> graded(torch.tensor([0.0, 1.0, math.nan])), graded(torch.tensor([0.1, 0.2, 0.25, 0.4]))
    (False, True)
    """
    return len(scores[scores.isfinite()].unique()) > FEW_VALUES


def chance_of_rise(iteration: int, particles: int, rises: Rises = RIGHT_OR_WRONG) -> float:
    """Return how likely the global best rises in an iteration: as each particle has a chance of its own.

    Args:
        iteration: Which, counted from 1.
        particles: Number of particles N.
        rises: How the chance falls.

    >>> [round(chance_of_rise(iteration, 20), 2) for iteration in (1, 3, 6, 12)]
    [0.98, 0.57, 0.22, 0.05]
    """
    fitted = min(0.98, rises.first * math.exp(-iteration / rises.fades) + rises.later)
    return 1 - (1 - fitted) ** (particles / FITTED_PARTICLES)


def ends(
    most: int,
    patience: int | None,
    particles: int,
    done: int = 0,
    equal: int = 1,
    rises: Rises = RIGHT_OR_WRONG,
) -> dict[int, float]:
    """Return how likely a search ends after each number of iterations.

    Args:
        most: Iterations at most.
        patience: Equal values of the global best after which it ends; None: never before the last iteration.
        particles: Number of particles N.
        done: Iterations that are done.
        equal: How many of the latest values of the global best are equal, the one before the first iteration included.
        rises: How the chance of a rise falls.

    Returns:
        Iterations in all -> probability; none of them is 0.

    >>> ends(50, None, 20), ends(50, 4, 20, done=7, equal=4)
    ({50: 1.0}, {7: 1.0})
    """
    if patience is None or done >= most:
        return {max(most, done): 1.0}
    going, ended = {equal: 1.0}, {}
    for iteration in range(done, most + 1):
        if iteration > done:
            rise = chance_of_rise(iteration, particles, rises)
            risen = sum(going.values()) * rise
            going = {count + 1: chance * (1 - rise) for count, chance in going.items()} | {1: risen}
        over = [count for count in going if iteration == most or (count >= patience and iteration + 1 > patience)]
        chance = sum(going.pop(count) for count in over)
        if chance > 0:
            ended[iteration] = chance
    return ended


def span_of(chances: dict[int, float]) -> Span:
    """Return the tenth, the half and nine tenths of the distribution of a whole number.

    >>> span_of({10: 0.05, 12: 0.4, 15: 0.5, 30: 0.05})
    Span(low=12, likely=15, high=15)
    """
    found: list[float] = []
    total = 0.0
    ordered = sorted(chances)
    for value in ordered:
        total += chances[value]
        while len(found) < 3 and total >= (0.1, 0.5, 0.9)[len(found)] - 1e-9:
            found.append(value)
    return Span(*(found + [ordered[-1]] * (3 - len(found))))


# Of the distance between the first global worst and the last global best, the share that the exact stop left out in
# iteration k: the mean of searches of the demo world. At first particles rise, and are asked everything; in the end
# they are asked little more than theory says.
LEFT_OUT: Sequence[float] = (0.05, 0.11, 0.18, 0.24, 0.35, 0.55, 0.78, 0.83, 0.87, 0.85, 0.85, 0.87, 0.9, 0.9, 0.92)


def left_out(iteration: int, distance: float) -> float:
    """Return which share of its examples a particle is likely not to be asked, with the exact stop.

    Args:
        iteration: Which, counted from 1.
        distance: From the global worst to the best utility that comes, as a share of the scores' span.
    """
    share = LEFT_OUT[min(iteration, len(LEFT_OUT)) - 1]
    return share * min(max(distance, 0.0), 1.0)
