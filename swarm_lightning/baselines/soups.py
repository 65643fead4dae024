"""Soups: the mean of all experts, and of those that do not make it worse, tried from the best down.

    uniform soup = (x_1 + ... + x_n) / n
    greedy soup = {best}; then for every other expert x, the best first:
    keep x if utility(mean(soup and x)) >= utility(mean(soup))

On A and B as they stand, as the particles of the swarm are added: the product of two means is not the mean of the
products, and costs nothing to make. Of full checkpoints on all weights, as published. The greedy soup takes n + (n - 1)
evaluations. Source: Wortsman et al., Model soups, arXiv:2203.05482, section 2 and recipe 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.vectors import windows


def uniform_soup(experts: Tensor) -> Tensor:
    """Return the mean of experts.

    Args:
        experts: Weights [n, D].

    Returns:
        Weights [D].
    """
    return experts.mean(dim=0)


def greedy_soup(experts: Tensor, utilities: Tensor, utility_of: Callable[[Tensor], float]) -> tuple[list[int], float]:
    """Choose the experts of a soup.

    Args:
        experts: Weights [n, D].
        utilities: Utility of each alone [n]; equal ones are tried in their order.
        utility_of: Scores weights [D]; called n - 1 times.

    Returns:
        The places of the chosen, in the order in which they came in, and the utility of their mean.
    """
    order = utilities.nan_to_num(nan=-float("inf")).argsort(descending=True, stable=True).tolist()
    chosen, best = order[:1], float(utilities[order[0]])
    for place in order[1:]:
        utility = utility_of(soup_of(experts, [*chosen, place]))
        if utility >= best:
            chosen, best = [*chosen, place], utility
    return chosen, best


def soup_of(experts: Tensor, places: list[int]) -> Tensor:
    """Return the mean of some experts, without a copy of them.

    Args:
        experts: Weights [n, D].
        places: Which ones.

    Returns:
        Weights [D].
    """
    soup = torch.empty_like(experts[0])
    for start, stop in windows(0, len(soup)):
        torch.mean(experts[places, start:stop], dim=0, out=soup[start:stop])
    return soup


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
