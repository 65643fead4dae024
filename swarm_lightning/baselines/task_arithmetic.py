"""The sum of what the experts add to the base, times one number that is found on the validation examples.

    theta = base + s (tau_1 + ... + tau_n),  s from 0.05, 0.1, ..., 1; the smallest of equals

Of adapters tau_i is the product B_i A_i, and the sum is exact as an adapter of the summed rank. Of full checkpoints it
is what an expert adds to `model.base`, without which the row is absent. 20 evaluations; s = 0 is the base, which has a
row of its own. Source: Ilharco et al., Editing models with task arithmetic, arXiv:2212.04089, sections 2 and 4.
"""

import torch

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.swarm.rules import best_of

STEPS = 20


class TaskArithmetic:
    """Asks every scale and keeps the best."""

    title = "task arithmetic"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Choose the scale by validation utility.

        Raises:
            Absent: If the experts are full checkpoints without a base.
        """
        scales = torch.arange(1, STEPS + 1, dtype=torch.float64) / STEPS
        sums = scales[:, None].expand(-1, len(bench.names))
        if bench.shares_passes:
            products = ProductBench(bench)
            utilities = products.utilities(sums)
            best = best_of(utilities)
            return products.composition(sums[best], float(utilities[best]), f"scale {float(scales[best]):g}")
        candidates = bench.combinations(sums, bench.origin())
        utilities = bench.utilities(candidates)
        best = best_of(utilities)
        return Composition(float(utilities[best]), f"scale {float(scales[best]):g}", candidates[best][:].clone())
