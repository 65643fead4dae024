"""Soups: the mean of all experts, and of those that do not make it worse, tried from the best down.

    uniform soup = (x_1 + ... + x_n) / n
    greedy soup = {best}; then for every other expert x, the best first:
    keep x if utility(mean(soup and x)) >= utility(mean(soup))

On A and B as they stand, as the particles of the swarm are added: the product of two means is not the mean of the
products, and costs nothing to make. Of full checkpoints on all weights, as published. The greedy soup takes n + (n - 1)
evaluations. Source: Wortsman et al., Model soups, arXiv:2203.05482, section 2 and recipe 1.
"""

from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.swarm.soups import greedy_soup, soup_of


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


class GreedySoup:
    """Tries one expert after the other."""

    title = "greedy soup"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Mix those experts that help, in equal parts."""
        chosen, utility = greedy_soup(bench.experts, bench.utilities(bench.experts), bench.utility)
        names = ", ".join(bench.names[place] for place in chosen)
        return Composition(utility, f"mean of {names}", soup_of(bench.experts, chosen))
