"""What there is without composing anything: the base model, and the one expert that is best on the validation split.

The base is absent where the experts are full checkpoints and `model.base` names none: nothing tells which model they
started from.
"""

from collections.abc import Sequence

from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.data.examples import Example
from swarm_lightning.swarm.rules import best_of


class BaseModel:
    """Asks the base alone."""

    title = "base model"
    kind: Kind = "fixed"
    least = 1

    def compose(self, bench: Bench) -> Composition:
        """Ask the base the validation examples.

        Raises:
            Absent: If no base is named.
        """
        bench.check_base("it needs the base")
        evaluator = bench.evaluator

        def scores(examples: Sequence[Example]) -> Tensor:
            return evaluator.evaluate_base(examples).scores[0]

        return Composition(float(evaluator.evaluate_base(bench.examples).utilities[0]), scores=scores)


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
