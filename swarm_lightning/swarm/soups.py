"""Greedy soup: the mean of those that do not make it worse, tried from the best down.

    soup = {best}; then for every other x, the best first: keep x if utility(mean(soup and x)) >= utility(mean(soup))

It takes the utility of each alone, and n - 1 more, or fewer where only the best are tried. Source: Wortsman et al.,
Model soups, arXiv:2203.05482, recipe 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from swarm_lightning.vectors import windows


def greedy_soup(
    experts: Tensor, utilities: Tensor, utility_of: Callable[[Tensor], float], most: int | None = None
) -> tuple[list[int], float]:
    """Choose the experts of a soup.

    Args:
        experts: Weights [n, D].
        utilities: Utility of each alone [n]; equal ones are tried in their order.
        utility_of: Scores weights [D]; called once for each expert that is tried.
        most: How many are tried beside the best, the next best first; None for all n - 1.

    Returns:
        The places of the chosen, in the order in which they came in, and the utility of their mean.
    """
    order = utilities.nan_to_num(nan=-float("inf")).argsort(descending=True, stable=True).tolist()
    chosen, best = order[:1], float(utilities[order[0]])
    for place in order[1:] if most is None else order[1 : most + 1]:
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
