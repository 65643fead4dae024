"""From scores to one utility: means that never fall where a score rises, to the last digit.

The exact early stop compares what a particle can reach at least and at most with what it must beat. It is exact only if
rounding never turns a rise into a fall: so sums are exact sums, rounded once, and every step after them is monotone.
"""

import math
from collections.abc import Sequence


def mean_score(scores: Sequence[float]) -> float:
    """Return the mean of scores, from their exact sum: it does not depend on their order, and rises with each of them.

    Args:
        scores: One or more.

    >>> mean_score([0.1] * 10), mean_score([1.0, 0.0, 0.0, 1.0])
    (0.1, 0.5)
    """
    finite = all(map(math.isfinite, scores))  # fsum refuses infinities of both signs
    return (math.fsum(scores) if finite else sum(scores)) / len(scores)


def harmonic_mean(parts: Sequence[float]) -> float:
    """Return the harmonic mean: near the lowest part, so that one strong part can't make up for a weak one.

    Args:
        parts: One or more. Where any of them is 0 or below, the result is 0: where the mean goes as a part goes to 0.

    >>> harmonic_mean([0.5, 0.25]), harmonic_mean([1.0, 1.0, 0.0])
    (0.3333333333333333, 0.0)
    """
    if min(parts) <= 0:
        return 0.0
    return len(parts) / math.fsum(1 / part for part in parts)


def weighted_mean(parts: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted arithmetic mean.

    Args:
        parts: One or more.
        weights: One for each part, above 0; only their proportions matter.

    >>> weighted_mean([0.5, 0.25], [3, 1])
    0.4375
    """
    products = [weight * part for part, weight in zip(parts, weights, strict=True)]
    finite = all(map(math.isfinite, products))
    return (math.fsum(products) if finite else sum(products)) / math.fsum(weights)
