"""The base model without any expert: what all of this starts from.

Absent where the experts are full checkpoints and `model.base` names none: nothing tells which model they started from.
"""

from collections.abc import Sequence

from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.data.examples import Example


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
        evaluator = bench.module.evaluator

        def scores(examples: Sequence[Example]) -> Tensor:
            return evaluator.evaluate_base(examples).scores[0]

        return Composition(float(evaluator.evaluate_base(bench.examples).utilities[0]), scores=scores)
