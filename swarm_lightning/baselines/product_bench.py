"""The experts of a bench as products B A, mixed by coefficients: exact, and all candidates in one forward pass."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition
from swarm_lightning.baselines.soups import greedy_soup, soup_of
from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.refitting import can_refit, put_second, refit_experts
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.experts.products.adapter import product_adapter
from swarm_lightning.experts.products.division import GroupedProducts
from swarm_lightning.experts.products.model import ProductModel
from swarm_lightning.experts.products.products import Granularity, Groups
from swarm_lightning.experts.products.refit import evaluations_of
from swarm_lightning.objectives.guides import guide_of
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.swarm.rules import best_of
from swarm_lightning.swarm.starts import Refitting, Starts, starts_of


class Soup(NamedTuple):
    """A greedy soup of products.

    Attributes:
        weights: How much of each expert is in it [n].
        places: Which experts, in the order in which they came in.
        utility: Of it, as `ProductBench.utilities` has it.
        alone: That of every expert alone [n] float64.
    """

    weights: Tensor
    places: list[int]
    utility: float
    alone: Tensor


class ProductBench:
    """What a method may use that mixes products: candidates are coefficients of the experts.

    Attributes:
        products: Of the experts.
        groups: What has a coefficient of its own.
        evaluator: Asks them what the bench's own asks.
    """

    def __init__(
        self,
        bench: Bench,
        instead: str = "",
        granularity: Granularity = "expert",
        guided: bool = False,
        refits: bool = False,
    ) -> None:
        """Stack the experts' matrices.

        Args:
            bench: Whose experts and validation examples are used; what is asked here counts there.
            instead: What is the same for full checkpoints, for the reason to be absent.
            granularity: What of every expert has a coefficient of its own.
            guided: Whether `utilities` are those of the objective's smooth guide.
            refits: Whether experts are fitted anew, so that each has a second version.

        Raises:
            Absent: If the experts are full checkpoints, the objective has no guide where one is followed, or nobody can
                listen to the model's layers where experts are fitted anew.
        """
        products = bench.module.pool.products()
        if products is None:
            raise Absent(
                f"full checkpoints have no products B A: their weights themselves are added, as in the {instead}"
            )
        self.products = products.doubled() if refits else products
        self.groups = Groups.of(self.products, granularity)
        self.evaluator = bench.module.products_evaluator(GroupedProducts(self.products, self.groups))
        if refits and not can_refit(self.evaluator):
            raise Absent("it listens to the model's layers, which only the engine `torch` allows")
        self._guide = self.evaluator.asking(_guide_of(self.evaluator.objective)) if guided else self.evaluator
        self._weighed = GroupedProducts(self.products, self.groups)
        self._examples = bench.examples
        self._experts = len(bench.names)

    @property
    def resident(self) -> ProductModel:
        """The base with the products, where it lies in the memory of this process; see `Bench.resident`."""
        runner = self.evaluator.runner
        assert isinstance(runner, ResidentRunner)
        assert isinstance(runner.engine.adapted, ProductModel)
        return runner.engine.adapted

    def utilities(self, coefficients: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Ask mixtures validation examples; where replies are sampled, all with the same random numbers.

        Args:
            coefficients: Of the experts' products [P, C].
            wanted: Which examples to ask which mixture [P, M] bool; all where not given.

        Returns:
            Utilities [P] float64.
        """
        numbers = [0] * len(coefficients)
        return self._guide.evaluate(coefficients.float(), self._examples, numbers=numbers, wanted=wanted).utilities

    def alone(self) -> Tensor:
        """Return the utility of every expert alone [n] float64."""
        return self.experts().utilities

    def experts(self) -> Evaluation:
        """Ask every expert alone."""
        axes = self.groups.spread(torch.eye(self._experts))
        return self._guide.evaluate(axes, self._examples, numbers=[0] * self._experts)

    @property
    def sums_of_start(self) -> int:
        """How many whole evaluations `start` takes at most: n experts, their mean, n - 1 soups, and two fits."""
        return 2 * self._experts + 2 * evaluations_of(self.products)

    def start(self, names: Sequence[str], held: int | None = None) -> Starts:
        """Try the experts, their mean and their greedy soup, and these two with experts fitted anew.

        The experts of the best, where it is one with fitted ones, are left as second versions. What it takes is
        at most `sums_of_start` whole evaluations.

        Args:
            names: Of the experts.
            held: How many whole evaluations it may take, the experts counted; None for as many as it takes.
        """
        alone = self.experts()
        downs: list[tuple[Tensor, ...]] = []

        def utility_of(weights: Tensor) -> tuple[float, Tensor]:
            found = refit_experts(self._guide, self._weighed, alone.scores, weights, self._examples, ask)
            downs.append(found.downs)
            return found.utility, found.scores

        def ask(fold: int, coefficients: Tensor, asked: Tensor) -> Tensor:
            evaluation = self._guide.evaluate(coefficients[None], self._examples, numbers=[0], wanted=asked[None])
            return evaluation.scores[0]

        starts = starts_of(
            names, alone.utilities, lambda weights: self.utilities(self.groups.spread(weights)),
            (self.sums_of_start if held is None else held) - self._experts,
            Refitting(utility_of, evaluations_of(self.products)),
        )  # fmt: skip
        fit = starts.best_fit
        if fit is not None:
            put_second(self._guide, self.products, downs[fit])
        return starts

    def soup(self) -> Soup:
        """Find the greedy soup of the products; n + (n - 1) whole evaluations."""
        axes, alone = torch.eye(self._experts), self.alone()

        def utility_of(weights: Tensor) -> float:
            return float(self.utilities(self.groups.spread(weights[None]))[0])

        places, utility = greedy_soup(axes, alone, utility_of)
        return Soup(soup_of(axes, places), places, utility, alone)

    def worth(self, coefficients: Tensor) -> float:
        """Return the utility of a mixture on the validation examples by the objective, and not by its guide.

        Args:
            coefficients: Of the experts' products [C].
        """
        return float(self.worths(coefficients.unsqueeze(0))[0])

    def worths(self, coefficients: Tensor) -> Tensor:
        """Return the utilities of mixtures on the validation examples by the objective [P] float64; see `worth`.

        Args:
            coefficients: Of the experts' products [P, C].
        """
        return self.evaluator.evaluate(coefficients.float(), self._examples).utilities

    def choose(self, candidates: Mapping[str, Tensor]) -> tuple[str, float]:
        """Return the name and the utility by the objective of the best mixture, the first of equals.

        Args:
            candidates: Coefficients of the experts' products by name [C], the simplest first.
        """
        utilities = self.worths(torch.stack(list(candidates.values())))
        best = best_of(utilities)
        return list(candidates)[best], float(utilities[best])

    def composition(self, coefficients: Tensor, utility: float, detail: str) -> Composition:
        """Return a mixture as what a method has made.

        Args:
            coefficients: Of the experts' products [C].
            utility: On the validation examples.
            detail: For the table.
        """

        def scores(examples: Sequence[Example]) -> Tensor:
            candidate = coefficients.float().unsqueeze(0)
            return self.evaluator.evaluate(candidate, examples, whole_replies=True).scores[0]

        adapter = product_adapter(self.products, self.groups, coefficients.float())
        return Composition(utility, detail, scores=scores, adapter=adapter)


def _guide_of(objective: Objective) -> Objective:
    try:
        return guide_of(objective)
    except InputError as error:
        raise Absent(f"it follows a smooth guide, and {type(objective).__name__} has none") from error
