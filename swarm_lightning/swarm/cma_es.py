"""CMA-ES as a `torch.optim.Optimizer`: the library `cma` moves the distribution, this holds what a checkpoint needs.

A step is a generation: candidates drawn from a normal distribution are asked all examples, and the distribution moves
towards the better half. Its state is what it was told: with the same random numbers the same answers make the same
distribution, so that a resumed search tells a new one everything again. That takes D^2 numbers and, now and then, the
eigenvalues of such a matrix; `separable` takes D numbers. Source: Hansen, arXiv:1604.00772; Ros and Hansen 2008.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor

from swarm_lightning.doors.cma import Distribution, installed
from swarm_lightning.swarm.centre_search import BUDGET, LAST_CENTRE, SIMPLE, CentreSearch
from swarm_lightning.swarm.rules import best_of


class CmaEs(CentreSearch):
    """Moves a normal distribution of coefficients towards higher utility, generation by generation.

    Call `begin` with the utilities of the first positions, `start` with the first centre, `step` until the search is
    `done`, and `choose` at the end.

    >>> positions = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    >>> strategy = CmaEs([positions])
    >>> worth = lambda points: -(points - torch.tensor([0.5, 0.5])).norm(dim=1)
    >>> strategy.begin(worth(positions), torch.Generator().manual_seed(1))
    >>> strategy.start(positions[0], examples=1, evaluations=240)
    >>> while not strategy.done:
    ...     _ = strategy.step(lambda: worth(strategy.candidates))
    >>> bool(worth(strategy.last_centre[None]) > -0.1)
    True
    """

    choices: ClassVar[tuple[str, ...]] = (*SIMPLE, LAST_CENTRE, "best candidate")
    after_breaking: ClassVar[str] = "It counts as the worst of its generation."

    def __init__(
        self,
        params: Iterable[Tensor],
        deviation: float = 1 / 6,
        evaluations: int = BUDGET,
        population: int = 12,
        separable: bool = False,
    ) -> None:
        """Set the first positions and the settings of the search.

        Args:
            params: Exactly one tensor: the first positions [N, D], which are evaluated on all examples and not moved.
            deviation: First standard deviation of every number, > 0: the learning rate. The distribution changes it by
                itself; no schedule does.
            evaluations: Number of (model, example) pairs that the whole search may use, from the first positions to the
                final choice. What remains is divided into generations.
            population: Candidates of a generation, >= 2, each evaluated on all examples.
            separable: Whether only a variance of each coefficient is learnt, and no covariances between them: for
                hundreds of coefficients and more.

        Raises:
            ValueError: If there is not exactly one tensor [N, D] with N >= 1, or a setting is out of range.
            InputError: If the library cma is not installed.
        """
        if isinstance(population, bool) or not isinstance(population, int) or population < 2:
            raise ValueError(f"Expected population to be a whole number of 2 or more, but got {population!r}.")
        installed()  # now, and not when the first positions have been asked
        settings = {"population": population, "separable": separable}
        super().__init__(params, deviation, evaluations, settings)
        self._live: tuple[int, Distribution] | None = None  # with the generations that it was told
        self._asked: Tensor | None = None

    @property
    def population(self) -> int:
        """Candidates of a generation."""
        return int(self.param_groups[0]["population"])

    @property
    def step_length(self) -> float:
        """The standard deviation of the next generation, before what is known of single directions."""
        return float(self._memory()["deviation"]) if self.started else float(self.param_groups[0]["lr"])

    @property
    def most_steps(self) -> int | None:
        """How many generations its budget holds; None while that is not known."""
        return int(self._memory()["generations"]) if self.started else None

    @property
    def candidates(self) -> Tensor:
        """The candidates [P, D] of the running generation, or of the last one; the first positions before any."""
        return self.positions if self._asked is None else self._asked.to(self.positions)

    @property
    def wanted(self) -> Tensor | None:
        """Which examples each candidate is asked [P, M] bool: all of them; None before the first generation."""
        if self._asked is None:
            return None
        return torch.ones(len(self._asked), int(self._memory()["examples"]), dtype=torch.bool)

    @property
    def last_centre(self) -> Tensor:
        """The mean of the distribution [D]."""
        return self._memory()["mean"].to(self.positions)

    @property
    def average(self) -> Tensor:
        """The best candidate by what it was told [D], the first of equals; the beginning before any."""
        return self._memory()["best"].to(self.positions)

    @property
    def planned(self) -> str:
        """What the steps will ask, in words."""
        return f"{self.most_steps} generations of {self.population} candidates"

    @property
    def asked_by_step(self) -> int:
        """(model, example) pairs of a generation."""
        return self.least(int(self._memory()["examples"]))

    def least(self, examples: int) -> int:
        """Return the (model, example) pairs of one generation."""
        return self.population * examples

    def steps_held(self, evaluations: int, examples: int) -> int:
        """Return how many generations so many (model, example) pairs hold."""
        return max(0, evaluations) // self.least(examples)

    def start(
        self, position: Tensor, examples: int, evaluations: int, free: Tensor | None = None, unit: float = 1.0
    ) -> None:
        """Put the mean of the distribution where it begins; see `CentreSearch`."""
        if free is not None:
            raise ValueError("Expected all numbers to be moved: the distribution has no others.")
        generator, place = self._generator(), position.detach().to("cpu", torch.float64).clone()
        memory = self._memory()
        memory["distribution"] = torch.randint(2**31, (), generator=generator)
        memory["generator"] = generator.get_state()
        memory["generations"] = torch.tensor(self.steps_held(evaluations, examples))
        memory["examples"] = torch.tensor(examples)
        memory["beginning"] = position.detach().to(self.positions).clone()
        memory["mean"], memory["best"] = place, place.clone()
        memory["best_utility"] = torch.tensor(-torch.inf, dtype=torch.float64)
        memory["deviation"] = torch.tensor(self.param_groups[0]["lr"], dtype=torch.float64)
        memory["told"] = torch.zeros(0, self.population, dtype=torch.float64)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Do one step: draw a generation, have it scored, move the distribution.

        Args:
            closure: Returns the utilities [P] of `candidates`; it is called once. One that is not finite counts as the
                worst.

        Returns:
            The utilities [P].

        Raises:
            RuntimeError: If the centre has no place yet.
            ValueError: If the closure returns another shape.
        """
        self._check_started()
        distribution, memory = self._distribution(), self._memory()
        self._live = None  # it has drawn: where nothing is told, another one is told all that was
        drawn = torch.tensor(distribution.ask(), dtype=torch.float64)
        self._asked = drawn.float()
        utilities = closure()
        told = utilities.detach().to("cpu", torch.float64)
        if tuple(told.shape) != (len(drawn),):
            raise ValueError(f"Expected {len(drawn)} utilities, but got {tuple(utilities.shape)}.")
        distribution.tell(told.tolist())
        best = best_of(told)
        if told[best] > memory["best_utility"].cpu():
            memory["best"], memory["best_utility"] = drawn[best].clone(), told[best].clone()
        memory["told"] = torch.cat([memory["told"].cpu(), told[None]])
        memory["mean"] = torch.tensor(distribution.mean, dtype=torch.float64)
        memory["deviation"] = torch.tensor(distribution.deviation, dtype=torch.float64)
        memory["iterations"] += 1
        self._live = (len(memory["told"]), distribution)
        self._forget_choice()
        return utilities.clone()

    def _distribution(self) -> Distribution:
        """Return the distribution after all that it was told."""
        memory = self._memory()
        told: list[list[float]] = memory["told"].tolist()
        if self._live is not None and self._live[0] == len(told):
            return self._live[1]
        group = self.param_groups[0]
        beginning = self.beginning.to("cpu", torch.float64).tolist()
        first = Distribution(
            beginning, self.defaults["lr"], self.population, bool(group["separable"]), int(memory["distribution"])
        )
        for utilities in told:
            first.ask()
            first.tell(utilities)
        return first

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Load a state that `state_dict` returned; the distribution is made anew from it."""
        super().load_state_dict(state_dict)
        self._live, self._asked = None, None
