"""How many examples it takes to tell a difference of two models from noise.

The normal approximation of a test at the 5% level that finds the difference four times in five:
n = (1.96 + 0.84)^2 v / d^2, with v the variance of the difference of two scores of an example. Where two models are
asked the same examples (paired), v is that of the difference itself; where each is asked examples of its own
(unpaired), v is the sum of the variances of both. Source: Miller 2024, arXiv:2411.00640, section 5.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SURE, FOUND = 1.959964, 0.841621  # quantiles of the normal distribution: 97.5% and 80%


@dataclass(frozen=True)
class Noise:
    """How much the scores of two models vary from example to example.

    Attributes:
        paired: Variance of the difference of two models' scores of an example.
        unpaired: Sum of the variances of their scores.
    """

    paired: float
    unpaired: float


def noise_of(scores: Tensor) -> Noise:
    """Measure it on the pairs of some models.

    Args:
        scores: Of P models on the same M examples [P, M], finite.

    Raises:
        ValueError: If there are fewer than two models or two examples.

    >>> noise_of(torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]))
    Noise(paired=0.6666666666666666, unpaired=0.6666666666666666)
    """
    if len(scores) < 2 or scores.shape[1] < 2:
        raise ValueError(f"Expected scores of 2 models or more on 2 examples or more, but got {list(scores.shape)}.")
    scores = scores.double()
    pairs = torch.combinations(torch.arange(len(scores)))
    paired = (scores[pairs[:, 0]] - scores[pairs[:, 1]]).var(dim=1).mean()
    return Noise(float(paired), 2 * float(scores.var(dim=1).mean()))


def examples_needed(difference: float, variance: float) -> int:
    """Return how many examples it takes to tell a difference from noise.

    Args:
        difference: Of two utilities, > 0.
        variance: Of the difference of two scores of an example.

    >>> examples_needed(0.05, 0.2)  # 2.8^2 x 0.2 / 0.05^2
    628
    """
    return math.ceil((SURE + FOUND) ** 2 * variance / difference**2)


def smallest_difference(examples: int, variance: float) -> float:
    """Return the smallest difference that so many examples tell from noise.

    >>> round(smallest_difference(628, 0.2), 3)
    0.05
    """
    return (SURE + FOUND) * math.sqrt(variance / examples)
