"""What a method may use: the experts, their base, the validation split through the engine, a budget, random numbers.

The test split is not on it. Experts are LoRA adapters or full checkpoints, and most methods need not know which.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.candidates import LazyCandidates
from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.counts import less
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.mixtures.mixture import Averaged
from swarm_lightning.evaluation.runners.mixture import MixtureRunner, Weigh
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.objectives.utility import utility_of

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm
    from swarm_lightning.vectors import Vectors


class Bench:
    """One method's place of work.

    Attributes:
        module: The search whose experts, engine and objective are shared; set up.
        examples: The validation examples, M of them.
        budget: (particle, example) pairs that a search may ask; None where nothing limits it.
        generator: Source of random numbers, on the CPU.
        seed: What the generator was seeded with.
        search: Runs the ordinary search on `module` with this seed.
        climb: How the best validation utility has risen: pairs asked by then, and the utility.
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
        self.climb: list[tuple[int, float]] = []
        self._before, self._passes_before = self.evaluator.asked, self.evaluator.forward_passes

    @property
    def evaluator(self) -> Evaluator:
        """What asks weights of the experts' form, whatever the search's positions are."""
        return self.module.weights_evaluator

    @property
    def resident(self) -> ResidentRunner:
        """What runs them on the model in memory.

        Raises:
            Absent: If something else runs them.
        """
        runner = self.evaluator.runner
        if not isinstance(runner, ResidentRunner):
            raise Absent(
                f"it works on the model in this process's memory, and model.engine.backend is "
                f"{self.module.settings.engine.backend}: set it to torch"
            )
        return runner

    @property
    def experts(self) -> Tensor:
        """Weights of the n experts [n, D], float32 on the CPU: A and B matrices, or all weights of whole models."""
        return self.module.pool.vectors

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the n experts."""
        return self.module.pool.names

    @property
    def spent(self) -> int:
        """How many (particle, example) pairs have been asked since the bench was set up, by the engine's counter."""
        return self.evaluator.asked - self._before

    @property
    def forward_passes(self) -> int | None:
        """How many forward passes that took; None where nobody can count them."""
        return less(self.evaluator.forward_passes, self._passes_before)

    @property
    def affordable(self) -> int:
        """How many whole evaluations, of M examples each, the budget still holds."""
        assert self.budget is not None
        return max(0, self.budget - self.spent) // len(self.examples)

    @property
    def shares_passes(self) -> bool:
        """Whether several experts run in one forward pass, as adapters do; whole models take turns."""
        return self.evaluator.runner.at_once is None

    def origin(self) -> Tensor | None:
        """Return what the experts' differences are taken from: the weights of the base [D], or None for zeros.

        The weights of an adapter are differences from the base already. Those of a full checkpoint are not.

        Raises:
            Absent: If the experts are full checkpoints and no base is named.
        """
        self.check_base("it works on the experts' differences from their base")
        base = self.module.pool.base_vector(str(self.module.settings.base))
        return None if base is None else base[:]

    def check_base(self, what: str) -> None:
        """See that a base is named.

        Args:
            what: What it is for.

        Raises:
            Absent: If the experts are full checkpoints and none is.
        """
        if self.module.settings.base is None:
            raise Absent(f"{what}, and the experts are full checkpoints without one: name it in model.base")

    def check_shared_pass(self) -> None:
        """See that experts can be mixed token by token.

        Raises:
            Absent: If they are whole models: every token would take up all of them.
        """
        if not self.shares_passes:
            raise Absent(
                "it mixes the experts' next-token distributions in one forward pass, and full checkpoints take turns "
                "in the resident model"
            )

    def combinations(self, weights: Tensor, origin: Tensor | None = None, of: Tensor | None = None) -> "Vectors":
        """Return linear combinations of the experts, to be asked; of whole models each is made when it is asked.

        Args:
            weights: Coefficients [P, n].
            origin: What differences are taken from; see `combine`.
            of: What is combined [n, D]; the experts where not given.

        Returns:
            P vectors [D].
        """
        rows = self.experts if of is None else of
        if self.shares_passes:
            return combine(rows, weights, origin)
        return LazyCandidates(len(weights), lambda place: combine(rows, weights[place : place + 1], origin)[0])

    def evaluate(self, vectors: "Vectors") -> Evaluation:
        """Ask every vector every validation example; where replies are sampled, all with the same random numbers.

        Args:
            vectors: Weights [P, D], or P vectors.
        """
        return self._noted(self.evaluator.evaluate(self._laid_out(vectors), self.examples, numbers=[0] * len(vectors)))

    def utilities(self, vectors: "Vectors") -> Tensor:
        """Return the validation utility of every vector.

        Args:
            vectors: Weights [P, D], or P vectors.

        Returns:
            Utilities [P] float64.
        """
        return self.evaluate(vectors).utilities

    def utility(self, vector: Tensor) -> float:
        """Return the validation utility of one vector [D]."""
        return float(self.utilities(vector.unsqueeze(0))[0])

    def above(self, vectors: "Vectors", utility: float, expected: Tensor) -> Evaluation:
        """Find out which vectors have a higher utility than this, and ask the others no more than that takes.

        Args:
            vectors: Weights [P, D], or P vectors.
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
        laid_out = self._laid_out(vectors)
        return self._noted(self.evaluator.evaluate(laid_out, self.examples, stakes=stakes, numbers=[0] * count))

    def mixture(self, weigh: Weigh, averaged: Averaged) -> Callable[[Sequence[Example]], Tensor]:
        """Return what scores the experts mixed token by token; every example costs as many pairs as there are experts.

        Args:
            weigh: Gives the weights of the experts for every prompt.
            averaged: What of their distributions is averaged.

        Raises:
            Absent: See `check_shared_pass`.
        """
        self.check_shared_pass()
        runner = MixtureRunner(self.resident, self.experts, averaged)

        def scores(examples: Sequence[Example]) -> Tensor:
            return self.evaluator.on(runner).evaluate([weigh], examples).scores[0]

        return scores

    def worth(self, scores: Tensor) -> float:
        """Return the utility that these scores of the validation examples [M] make."""
        return utility_of(self.module.objective, scores.tolist(), self.examples)

    def _noted(self, evaluation: Evaluation) -> Evaluation:
        """Note the best utility so far where it has risen."""
        known = evaluation.utilities[evaluation.utilities.isfinite()]
        best = float(known.max()) if len(known) else -math.inf
        if best > (self.climb[-1][1] if self.climb else -math.inf):
            self.climb.append((self.spent, best))
        return evaluation

    def _laid_out(self, vectors: "Vectors") -> "Vectors":
        """Stack what shares a forward pass: it would be stacked anew for every batch."""
        if isinstance(vectors, Tensor) or not self.shares_passes:
            return vectors
        return torch.stack([vector[:] for vector in vectors])


def combine(experts: Tensor, weights: Tensor, origin: Tensor | None = None) -> Tensor:
    """Return linear combinations of experts, element by element: o + w_1 (x_1 - o) + ... + w_n (x_n - o).

    Args:
        experts: Weights x of the n experts [n, D].
        weights: Coefficients w [P, n], of any dtype.
        origin: What the differences are taken from, o [D]; None for zeros. It is of no account where the coefficients
            of a combination sum to one.

    Returns:
        Vectors [P, D], dtype of the experts. One product of matrices in that dtype, and so not to the last digit the
        sums in float64 of a swarm that is moved by coefficients, in which an expert alone is itself.

    >>> combine(torch.tensor([[1.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.5, 0.25]])).tolist()
    [[0.5, 1.0]]
    >>> combine(torch.tensor([[3.0], [7.0]]), torch.tensor([[0.5, 0.25]]), torch.tensor([1.0])).tolist()  # 1 + 1 + 1.5
    [[3.5]]
    """
    mixed = weights.to(experts) @ experts
    if origin is not None:
        left = (1 - weights.sum(dim=1)).to(experts)
        mixed.addr_(left, origin)
    return mixed


def coefficients_text(names: Sequence[str], weights: Tensor) -> str:
    """Return the coefficients of the experts for the table.

    Args:
        names: Of the n experts.
        weights: Coefficients [n].

    >>> coefficients_text(("farmer", "smith"), torch.tensor([1.25, -0.5]))
    'farmer 1.25, smith -0.50'
    """
    return ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, weights.tolist(), strict=True))
