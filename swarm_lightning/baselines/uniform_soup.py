"""The mean of all experts.

    soup = (x_1 + ... + x_n) / n

On A and B as they stand, as the particles of the swarm are added: the product of two means is not the mean of the
products, and costs nothing to make. Of full checkpoints on all weights, as published. Source: Wortsman et al., Model
soups, arXiv:2203.05482, section 2.
"""

from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind


def uniform_soup(experts: Tensor) -> Tensor:
    """Return the mean of experts.

    Args:
        experts: Weights [n, D].

    Returns:
        Weights [D].
    """
    return experts.mean(dim=0)


class UniformSoup:
    """Takes the mean and asks it."""

    title = "uniform soup"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Mix all experts in equal parts."""
        soup = uniform_soup(bench.experts)
        return Composition(bench.utility(soup), f"mean of {len(bench.experts)}", soup)
