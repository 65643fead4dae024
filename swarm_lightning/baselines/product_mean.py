"""The mean of the experts' products: what they add to the base, averaged.

    delta = (B_1 A_1 + ... + B_n A_n) / n

Exact as an adapter of the summed rank. The mean of A times the mean of B, as in the uniform soup, is another matrix.
Absent for full checkpoints, of which the uniform soup is this mean. Source: FedEx-LoRA, arXiv:2410.09432; LoRA Soups,
arXiv:2410.13025.
"""

import torch

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench


class ProductMean:
    """Takes the mean and asks it."""

    title = "product mean"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Mix all products in equal parts.

        Raises:
            Absent: If the experts are full checkpoints.
        """
        products = ProductBench(bench, "uniform soup")
        count = len(bench.names)
        mean = torch.full((count,), 1 / count)
        return products.composition(mean, float(products.utilities(mean[None])[0]), f"mean of {count} products")
