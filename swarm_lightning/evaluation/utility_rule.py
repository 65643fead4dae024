"""How the scores of a particle on a certain set of examples become its utility, as the exact stop needs to know it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.means import mean_score
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.objectives.utility import bounds_of, utility_of


@dataclass(frozen=True)
class UtilityRule:
    """From M scores to one utility.

    Attributes:
        lowest: The lowest score that each example can get [M].
        highest: The highest score that each example can get [M].
        utility: Utility of scores [M], none of them NaN; never falls where a score rises.
    """

    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    utility: Callable[[Sequence[float]], float]

    @property
    def finite(self) -> bool:
        """Whether every score is bounded on both sides."""
        return all(map(math.isfinite, self.lowest)) and all(map(math.isfinite, self.highest))

    def share(self, place: int, score: float) -> float:
        """Return how far up between its bounds a score lies, so that tasks with different bounds can be compared.

        Args:
            place: Which example, one whose bounds are finite.
            score: Its score.

        >>> mean_rule(1, (-1.0, 3.0)).share(0, 1.0)
        0.5
        """
        span = self.highest[place] - self.lowest[place]
        return (score - self.lowest[place]) / span if span > 0 else 0.0


def mean_rule(count: int, bounds: tuple[float, float]) -> UtilityRule:
    """Return the usual rule: the mean of scores that all have the same bounds.

    Args:
        count: Number of examples M.
        bounds: The lowest and the highest score of an example.
    """
    return UtilityRule((bounds[0],) * count, (bounds[1],) * count, mean_score)


def rule_of(objective: Objective, examples: Sequence[Example]) -> UtilityRule:
    """Return how an objective turns the scores of these examples into a utility.

    Args:
        objective: What is asked.
        examples: M of them, in the order of the scores.
    """
    bounds = [bounds_of(objective, example) for example in examples]
    return UtilityRule(
        tuple(lowest for lowest, _ in bounds),
        tuple(highest for _, highest in bounds),
        lambda scores: utility_of(objective, scores, examples),
    )
