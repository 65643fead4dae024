"""The mean of the products of those experts that do not make it worse, tried from the best down.

Greedy soup (`soups.py`) with products B A in place of A and B: n + (n - 1) evaluations. Exact as an adapter of
the summed rank of the chosen. Absent for full checkpoints, of which the greedy soup is this one. Source: Wortsman et
al., Model soups, arXiv:2203.05482, recipe 1.
"""

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench


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
        soup = products.soup()
        names = ", ".join(bench.names[place] for place in soup.places)
        return products.composition(soup.weights, soup.utility, f"mean of the products of {names}")
