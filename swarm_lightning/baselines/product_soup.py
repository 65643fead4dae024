"""The mean of the products of those experts that do not make it worse, tried from the best down.

Greedy soup (`soups.py`) with products B A in place of A and B: n + (n - 1) evaluations. Exact as an adapter of
the summed rank of the chosen. Absent for full checkpoints, of which the greedy soup is this one. Source: Wortsman et
al., Model soups, arXiv:2203.05482, recipe 1.
"""

import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.soups import greedy_soup, soup_of


class ProductSoup:
    """Tries one expert after the other."""

    title = "greedy soup of products"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Mix the products of those experts that help, in equal parts.

        Raises:
            Absent: If the experts are full checkpoints.
        """
        products = ProductBench(bench, "greedy soup")
        alone = torch.eye(len(bench.names))  # a soup of these holds the coefficients

        def utility_of(soup: Tensor) -> float:
            return float(products.utilities(soup[None])[0])

        chosen, utility = greedy_soup(alone, products.utilities(alone), utility_of)
        names = ", ".join(bench.names[place] for place in chosen)
        return products.composition(soup_of(alone, chosen), utility, f"mean of the products of {names}")
