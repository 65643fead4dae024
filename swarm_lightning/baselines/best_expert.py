"""The one expert that is best on the validation split."""

from swarm_lightning.baselines.bench import Bench, best_of
from swarm_lightning.baselines.method import Composition, Kind


class BestExpert:
    """Asks every expert everything; the first of equals is taken."""

    title = "best single expert"
    kind: Kind = "fixed"
    least = 1

    def compose(self, bench: Bench) -> Composition:
        """Choose by validation utility."""
        utilities = bench.utilities(bench.experts)
        best = best_of(utilities)
        return Composition(float(utilities[best]), bench.names[best], bench.experts[best])
