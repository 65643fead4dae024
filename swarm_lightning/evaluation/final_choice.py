"""Which of a few candidates is handed over, when all have been asked the same examples."""

from torch import Tensor


def simplest_of_the_best(utilities: Tensor, scores: Tensor) -> int:
    """Return the place of the highest utility; of equal ones the first.

    Args:
        utilities: Of C candidates [C], the simplest first; one that is not finite counts lowest.
        scores: Their scores [C, M].
    """
    return int(utilities.masked_fill(~utilities.isfinite(), -float("inf")).argmax())
