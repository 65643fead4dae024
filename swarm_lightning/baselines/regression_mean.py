"""The mean of experts that are fitted anew, so that each acts on inputs like those of the examples it answers best.

No search: the experts are asked, their greedy soup is found, and from the mean and from the soup the A matrices of all
are fitted by linear regression (`experts/products/refit.py`); the better of the two is handed over, or what was there
before if that is better. It follows the objective's smooth guide where there is one, else the objective. At most
2 n + 6 whole evaluations for n experts; one adapter of the summed rank. Absent for full checkpoints. Sources: RegMean,
Jin et al., arXiv:2212.09849; RegMean++, Nguyen et al., arXiv:2508.03121. That experts
share the examples by how well they answer them is this package's own.
"""

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.guides import guide_of


class RegressionMean:
    """Fits the experts once."""

    title = "regression mean"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Fit and add the experts.

        Raises:
            Absent: If the experts are full checkpoints.
        """
        products = ProductBench(bench, "mean", guided=_has_guide(bench), refits=True)
        best = products.start(bench.names).best
        coefficients = products.groups.refitted if best.refitted else products.groups.spread(best.weights)
        return products.composition(coefficients, products.worth(coefficients), best.name)


def _has_guide(bench: Bench) -> bool:
    try:
        guide_of(bench.module.objective)
    except InputError:
        return False
    return True
