"""How sure a mean over test examples is, and the difference of two means: percentile bootstrap over the examples.

All methods are resampled with the same examples, so that differences are paired: what makes an example hard for all
cancels. What another seed of a search would have found is not in these intervals; the table shows the seeds' spread
beside them. Source: Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13.
"""

import numpy
import torch
from torch import Tensor

AT_ONCE = 1000


def resampled_means(scores: Tensor, resamples: int, seed: int = 0) -> Tensor:
    """Return the means of scores over examples drawn with replacement.

    Args:
        scores: One row per method [R, M], float64.
        resamples: Number of samples B, of M examples each.
        seed: Seed of the draw.

    Returns:
        Means [R, B] float64; column b is the same sample of examples for all rows.
    """
    generator, count = numpy.random.default_rng(seed), scores.shape[1]
    parts = []
    for start in range(0, resamples, AT_ONCE):
        drawn = generator.multinomial(count, numpy.full(count, 1 / count), min(AT_ONCE, resamples - start))
        parts.append(scores @ torch.from_numpy(drawn).double().T / count)
    return torch.cat(parts, dim=1)


def interval(means: Tensor) -> tuple[float, float]:
    """Return the ends of the middle 95% of resampled means [B].

    >>> interval(torch.arange(401.0).double())
    (10.0, 390.0)
    """
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return float(low), float(high)
