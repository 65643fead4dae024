"""The experts of a bench as products B A, mixed by coefficients: exact, and all candidates in one forward pass."""

from collections.abc import Sequence

from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition
from swarm_lightning.data.examples import Example
from swarm_lightning.experts.division import GroupedProducts
from swarm_lightning.experts.product_adapter import product_adapter
from swarm_lightning.experts.products import Groups


class ProductBench:
    """What a method may use that mixes products: candidates are coefficients of the experts.

    Attributes:
        products: Of the experts.
        evaluator: Asks them what the bench's own asks.
    """

    def __init__(self, bench: Bench, instead: str = "") -> None:
        """Stack the experts' matrices.

        Args:
            bench: Whose experts and validation examples are used; what is asked here counts there.
            instead: What is the same for full checkpoints, for the reason to be absent.

        Raises:
            Absent: If the experts are full checkpoints.
        """
        products = bench.module.pool.products()
        if products is None:
            raise Absent(
                f"full checkpoints have no products B A: their weights themselves are added, as in the {instead}"
            )
        self.products = products
        self._groups = Groups.of(self.products, "expert")
        self.evaluator = bench.module.products_evaluator(GroupedProducts(products, self._groups))
        self._examples = bench.examples

    def utilities(self, coefficients: Tensor) -> Tensor:
        """Ask mixtures every validation example; where replies are sampled, all with the same random numbers.

        Args:
            coefficients: Of the experts' products [P, n].

        Returns:
            Utilities [P] float64.
        """
        numbers = [0] * len(coefficients)
        return self.evaluator.evaluate(coefficients.float(), self._examples, numbers=numbers).utilities

    def composition(self, coefficients: Tensor, utility: float, detail: str) -> Composition:
        """Return a mixture as what a method has made.

        Args:
            coefficients: Of the experts' products [n].
            utility: On the validation examples.
            detail: For the table.
        """

        def scores(examples: Sequence[Example]) -> Tensor:
            candidate = coefficients.float().unsqueeze(0)
            return self.evaluator.evaluate(candidate, examples, whole_replies=True).scores[0]

        adapter = product_adapter(self.products, self._groups, coefficients.float())
        return Composition(utility, detail, scores=scores, adapter=adapter)
