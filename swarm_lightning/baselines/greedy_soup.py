"""The mean of those experts that do not make it worse, tried from the best down.

    soup = {best}; then for every other expert x, the best first:
    keep x if utility(mean(soup and x)) >= utility(mean(soup))

On A and B as they stand. n + (n - 1) evaluations. Source: Wortsman et al., Model soups, arXiv:2203.05482, recipe 1.
"""

from collections.abc import Callable

from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind


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
        utility = utility_of(experts[[*chosen, place]].mean(dim=0))
        if utility >= best:
            chosen, best = [*chosen, place], utility
    return chosen, best


class GreedySoup:
    """Tries one expert after the other."""

    title = "greedy soup"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Mix those experts that help, in equal parts."""
        chosen, utility = greedy_soup(bench.experts, bench.utilities(bench.experts), bench.utility)
        names = ", ".join(bench.names[place] for place in chosen)
        return Composition(utility, f"mean of {names}", bench.experts[chosen].mean(dim=0))
