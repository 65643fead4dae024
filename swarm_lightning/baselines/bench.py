"""What a method may use: the experts, the validation split through the engine, a budget and random numbers.

The test split is not on it.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.objectives.utility import utility_of
from swarm_lightning.search.loading import adapters_of

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


class Bench:
    """One method's place of work.

    Attributes:
        module: The search whose experts, engine and objective are shared; set up.
        examples: The validation examples, M of them.
        budget: (particle, example) pairs that a search may ask; None where nothing limits it.
        generator: Source of random numbers, on the CPU.
        seed: What the generator was seeded with.
        search: Runs the ordinary search on `module` with this seed.
    """

    def __init__(
        self,
        module: "ModelSwarm",
        examples: Sequence[Example],
        seed: int = 0,
        budget: int | None = None,
        search: Callable[[int], None] | None = None,
    ) -> None:
        """Set the place up; what was asked before does not count.

        Args:
            module: The search whose experts, engine and objective are shared; set up.
            examples: The validation examples, M of them.
            seed: Seed of the random numbers.
            budget: Pairs that may be asked.
            search: Runs the ordinary search with a seed.
        """
        self.module = module
        self.examples = examples
        self.budget = budget
        self.seed = seed
        self.search = search
        self.generator = torch.Generator().manual_seed(seed)
        self._before = module.evaluator.asked

    @property
    def experts(self) -> Tensor:
        """Weights of the n experts [n, D], float32 on the CPU."""
        return adapters_of(self.module).vectors

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the n experts."""
        return self.module.pool.names

    @property
    def spent(self) -> int:
        """How many (particle, example) pairs have been asked since the bench was set up, by the engine's counter."""
        return self.module.evaluator.asked - self._before

    @property
    def affordable(self) -> int:
        """How many whole evaluations, of M examples each, the budget still holds."""
        assert self.budget is not None
        return max(0, self.budget - self.spent) // len(self.examples)

    def evaluate(self, vectors: Tensor) -> Evaluation:
        """Ask every vector every validation example; where replies are sampled, all with the same random numbers.

        Args:
            vectors: Weights [P, D].
        """
        return self.module.evaluator.evaluate(vectors, self.examples, numbers=[0] * len(vectors))

    def utilities(self, vectors: Tensor) -> Tensor:
        """Return the validation utility of every vector.

        Args:
            vectors: Weights [P, D].

        Returns:
            Utilities [P] float64.
        """
        return self.evaluate(vectors).utilities

    def utility(self, vector: Tensor) -> float:
        """Return the validation utility of one vector [D]."""
        return float(self.utilities(vector.unsqueeze(0))[0])

    def above(self, vectors: Tensor, utility: float, expected: Tensor) -> Evaluation:
        """Find out which vectors have a higher utility than this, and ask the others no more than that takes.

        Args:
            vectors: Weights [P, D].
            utility: What they are compared with; -inf for nothing.
            expected: The score that is expected of every example [M]: those expected to fail are asked first.

        Returns:
            An evaluation whose utilities are NaN for those that are not above, as far as that was seen early.
        """
        count = len(vectors)
        stakes = Stakes(
            personal_bests=torch.full((count,), utility, dtype=torch.float64),
            floor=-math.inf,
            expected=expected.expand(count, -1),
            known=torch.full((count,), math.nan, dtype=torch.float64),
        )
        return self.module.evaluator.evaluate(vectors, self.examples, stakes=stakes, numbers=[0] * count)

    def worth(self, scores: Tensor) -> float:
        """Return the utility that these scores of the validation examples [M] make."""
        return utility_of(self.module.objective, scores.tolist(), self.examples)


def combine(experts: Tensor, weights: Tensor) -> Tensor:
    """Return linear combinations of experts, element by element.

    Args:
        experts: Weights of the n experts [n, D].
        weights: Coefficients [P, n], of any dtype.

    Returns:
        Vectors [P, D], dtype of the experts.

    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.5, 0.25]])).tolist()
    [[0.5, 1.0]]
    """
    return weights.to(experts) @ experts


def best_of(utilities: Tensor) -> int:
    """Return the place of the highest utility [P], the first of equals; one that is not finite counts lowest."""
    return int(utilities.masked_fill(~utilities.isfinite(), -math.inf).argmax())
