"""How sure a test score is, and the difference of two: percentile bootstrap over the test examples.

All experts are resampled with the same examples, so that differences are paired: what makes an example hard for all
cancels. What another seed of a search would have found is not in these intervals. Source: Efron and Tibshirani 1993, An
introduction to the bootstrap, chapter 13.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.protocol import CombinesScores, Objective
from swarm_lightning.objectives.utility import utility_of
from swarm_lightning.shown import with_interval

SAMPLES = 10_000
AT_ONCE = 1000
SLOW = 1000  # samples at most where the utility is no mean: each is computed from its scores


@dataclass(frozen=True)
class Resampling:
    """How test examples are drawn again.

    Attributes:
        samples: Number of samples B.
        tasks: The task of every example [M]; each keeps its number of examples in every sample.
        worth: Utility of some scores and the places of their examples; None where it is the mean score.
        seed: Seed of the draw.
    """

    samples: int
    tasks: Sequence[str]
    worth: Callable[[Sequence[float], Sequence[int]], float] | None = None
    seed: int = 0

    @classmethod
    def of(cls, objective: Objective, examples: Sequence[Example], samples: int = SAMPLES) -> "Resampling":
        """Return how the examples that an objective has scored are drawn again.

        Args:
            objective: What was asked.
            examples: What it was asked, M of them.
            samples: Number of samples B.
        """

        def worth(scores: Sequence[float], places: Sequence[int]) -> float:
            return utility_of(objective, scores, [examples[place] for place in places])

        tasks = [example.task for example in examples]
        return cls(samples, tasks, worth if isinstance(objective, CombinesScores) else None)

    def utility(self, scores: Tensor) -> float:
        """Return the utility of the scores of all examples [M]."""
        if self.worth is None:
            return float(scores.mean())
        return self.worth(scores.tolist(), range(len(scores)))

    def utilities(self, scores: Tensor) -> Tensor:
        """Return the utilities on examples drawn with replacement.

        Args:
            scores: One row per run [R, M], float64.

        Returns:
            Utilities [R, B] float64; column b is the same sample of examples for all rows.
        """
        generator = numpy.random.default_rng(self.seed)
        places = [
            [place for place, task in enumerate(self.tasks) if task == name] for name in dict.fromkeys(self.tasks)
        ]
        if self.worth is not None:
            columns = []
            for _ in range(min(self.samples, SLOW)):
                drawn = numpy.concatenate([generator.choice(group, len(group)) for group in places]).tolist()
                columns.append([self.worth(row, drawn) for row in scores[:, drawn].tolist()])
            return torch.tensor(columns, dtype=torch.float64).T
        parts = []
        for start in range(0, self.samples, AT_ONCE):
            counts = torch.zeros(min(AT_ONCE, self.samples - start), scores.shape[1], dtype=torch.float64)
            for group in places:
                drawn = generator.multinomial(len(group), numpy.full(len(group), 1 / len(group)), len(counts))
                counts[:, group] = torch.from_numpy(drawn).double()
            parts.append(scores @ counts.T / scores.shape[1])
        return torch.cat(parts, dim=1)


def interval_of(objective: Objective, scores: Tensor, examples: Sequence[Example]) -> tuple[float, float]:
    """Return the ends of the 95% interval of the utility of one model; those of a broken one are -inf.

    Args:
        objective: What was asked.
        scores: What came of it [M].
        examples: What it was asked, M of them.
    """
    if not scores.isfinite().all():
        return -math.inf, -math.inf
    return interval(Resampling.of(objective, examples).utilities(scores.unsqueeze(0))[0])


def interval(means: Tensor) -> tuple[float, float]:
    """Return the ends of the middle 95% of resampled means [B].

    >>> interval(torch.arange(401.0).double())
    (10.0, 390.0)
    """
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return float(low), float(high)


@dataclass(frozen=True)
class Gain:
    """By how much one expert's utility is above another's on the same examples.

    Attributes:
        difference: Utility less that of the other.
        low: Lower end of its 95% interval.
        high: Upper end.
    """

    difference: float
    low: float
    high: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds 0: other examples might tell the opposite."""
        return self.low <= 0 <= self.high

    @property
    def verdict(self) -> str:
        """The gain in one word or two: better, within noise, or worse.

        >>> Gain(0.1, 0.05, 0.15).verdict, Gain(0.1, 0.0, 0.2).verdict, Gain(-0.1, -0.2, -0.05).verdict
        ('better', 'within noise', 'worse')
        """
        return "within noise" if self.within_noise else "better" if self.low > 0 else "worse"

    def __str__(self) -> str:
        noise = ": within noise" if self.within_noise else ""
        return f"{with_interval(self.difference, self.low, self.high, '+')}{noise}"


def gain_of(before: Sequence[float], after: Sequence[float], sampling: Resampling) -> Gain | None:
    """Measure a gain on examples that both experts were asked.

    Args:
        before: Scores of the one, one per example.
        after: Scores of the other on the same examples.
        sampling: How the examples are drawn again.

    Returns:
        The gain from `before` to `after`; None where a score is not finite, as of a broken expert.

    >>> print(gain_of([0.0, 1.0, 0.0], [0.0, 1.0, 0.0], Resampling(100, [""] * 3)))
    +0.0000 [+0.0000, +0.0000]: within noise
    """
    scores = torch.tensor([before, after], dtype=torch.float64)
    if not scores.isfinite().all():
        return None
    first, second = sampling.utilities(scores)
    low, high = interval(second - first)
    difference = sampling.utility(scores[1]) - sampling.utility(scores[0])
    return Gain(difference, low, high) if math.isfinite(difference) else None
