"""The evolution strategy as a `torch.optim.Optimizer`: it holds the state between ask and tell, and computes nothing.

The particles are the first positions, and stay where they are: what moves is one centre, and what a step asks are pairs
of candidates around it. So of a swarm's memory it has the utilities of the first positions and no more. What it has
beside it is in `evolution.py`.
"""

import math
from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor

from swarm_lightning.swarm import evolution
from swarm_lightning.swarm.centre_search import BUDGET, LAST_CENTRE, SIMPLE, CentreSearch
from swarm_lightning.swarm.evolution import Centre, EvolutionSettings, Pairs

AVERAGE = "mean of the last centres"
CHOICES = (*SIMPLE, LAST_CENTRE, AVERAGE)
CENTRE = tuple(Centre.__dataclass_fields__)
LATER = {"free", "unit"}  # which checkpoints of earlier versions lack


class EvolutionStrategy(CentreSearch):
    """Moves a centre towards higher utility by pairs of candidates, each evaluated on a few examples.

    Call `begin` with the utilities of the first positions, `start` with the first centre, `step` until the search is
    `done`, and `choose` at the end.

    >>> positions = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    >>> strategy = EvolutionStrategy([positions], step_length=0.2, steps=20, batch=1)
    >>> worth = lambda points: -(points - torch.tensor([0.5, 0.5])).norm(dim=1)
    >>> strategy.begin(worth(positions), torch.Generator().manual_seed(1))
    >>> strategy.start(positions[0], examples=1, evaluations=800)
    >>> while not strategy.done:
    ...     _ = strategy.step(lambda: worth(strategy.candidates))
    >>> bool(worth(strategy.found[None]) > -0.2)
    True
    """

    choices: ClassVar[tuple[str, ...]] = CHOICES
    after_breaking: ClassVar[str] = "Its pair tells nothing about the direction."

    def __init__(
        self,
        params: Iterable[Tensor],
        step_length: float = 0.02,
        evaluations: int = BUDGET,
        steps: int = 24,
        batch: int = 8,
        deviation: float = 0.06,
        momentum: float = 0.8,
        averaged: float = 1 / 3,
        minutes: float | None = None,
    ) -> None:
        """Set the first positions and the settings of the search.

        Args:
            params: Exactly one tensor: the first positions [N, D], which are evaluated on all examples and not moved.
            step_length: Length of the first step per number of the position, > 0: the learning rate. Steps shrink to 0
                by the end of the search; a schedule multiplies them further.
            evaluations: Number of (model, example) pairs that the whole search may use, from the first positions to the
                final choice. What remains for the steps is divided among pairs of candidates.
            steps: Number of steps, >= 1.
            batch: Number of examples on which a pair of candidates is evaluated, >= 1.
            deviation: Distance of candidates from the centre, > 0: the standard deviation of each number.
            momentum: Share of the previous direction that is kept, in [0, 1).
            averaged: Share of the steps, in (0, 1], counted from the last, whose centres are averaged into the result.
            minutes: Approximate time limit, > 0, from the start until the result is tested: steps evaluate as many
                pairs as time and `evaluations` allow. The result then depends on the speed of the machine. None: no
                limit.

        Raises:
            ValueError: If there is not exactly one tensor [N, D] with N >= 1, or a setting is out of range.
        """
        settings = EvolutionSettings(steps, batch, deviation, momentum=momentum, averaged=averaged).to_dict()
        del settings["step_length"]
        if minutes is not None and not 0 < minutes < math.inf:
            raise ValueError(f"Expected minutes to be above 0 and finite, but got {minutes}.")
        timed = {} if minutes is None else {"minutes": minutes}  # without: the identity of searches by evaluations
        super().__init__(params, step_length, evaluations, {**settings, **timed})
        self._pairs: Pairs | None = None

    @property
    def settings(self) -> EvolutionSettings:
        """The settings of the strategy; its step length is that of the moment."""
        group = self.param_groups[0]
        return EvolutionSettings.from_group({**group, "step_length": group["lr"]})

    @property
    def step_length(self) -> float:
        """How far the next step goes per number of the position."""
        unit = float(self.centre.unit) if self.started else 1.0
        return unit * self._length

    @property
    def _length(self) -> float:
        """The same in the unit that the centre is measured in."""
        return evolution.step_length_of(self.settings, int(self.swarm.iterations) if self.begun else 0)

    @property
    def most_steps(self) -> int:
        """How many steps it does: no further one where what it may ask does not hold a pair a step."""
        return self.settings.steps if not self.started or self.pairs else int(self.swarm.iterations)

    @property
    def centre(self) -> Centre:
        """What the strategy remembers of its steps."""
        memory = self._memory()
        kept = {name: memory[f"centre.{name}"].cpu() for name in CENTRE if name not in LATER}
        free = memory.get("centre.free", torch.ones(len(kept["position"]), dtype=torch.bool)).cpu()
        return Centre(**kept, free=free, unit=memory.get("centre.unit", torch.ones((), dtype=torch.float64)).cpu())

    @property
    def pairs(self) -> int:
        """How many pairs a step asks."""
        return int(self._memory()["pairs"])

    @property
    def candidates(self) -> Tensor:
        """The candidates [P, D] of the running step, or of the last one; the first positions before any."""
        return self.positions if self._pairs is None else self._pairs.candidates.to(self.positions.device)

    @property
    def wanted(self) -> Tensor | None:
        """Which examples each candidate is asked [P, M] bool; None for all of them, before the first step."""
        return None if self._pairs is None else self._pairs.wanted

    @property
    def last_centre(self) -> Tensor:
        """Where the centre is [D]."""
        return self.centre.position.to(self.positions)

    @property
    def average(self) -> Tensor:
        """The mean of the last centres [D], or the centre while there are none."""
        return evolution.found(self.centre, self.settings).to(self.positions.device)

    @property
    def planned(self) -> str:
        """What the steps will ask, in words."""
        return f"{self.most_steps} steps of {self.pairs} pairs of candidates"

    @property
    def asked_by_step(self) -> int:
        """(model, example) pairs that the next step asks."""
        return 2 * self.pairs * min(self.settings.batch, len(self._memory()["centre.order"]))

    def least(self, examples: int) -> int:
        """Return the fewest (model, example) pairs of the steps: those of one pair of candidates in each."""
        return self.settings.least(examples)

    def steps_held(self, evaluations: int, examples: int) -> int:
        """Return the number of steps, which is set: what they may ask is shared out to pairs of candidates."""
        return self.settings.steps

    def start(
        self, position: Tensor, examples: int, evaluations: int, free: Tensor | None = None, unit: float = 1.0
    ) -> None:
        """Put the centre where it begins; see `CentreSearch`."""
        pairs, generator = self.settings.pairs_held(evaluations, examples), self._generator()
        centre = evolution.begin(position, examples, generator, free, unit)
        self._remember(centre, generator)
        self._memory()["pairs"] = torch.tensor(pairs)
        self._memory()["beginning"] = position.detach().to(self.positions).clone()

    def pace(self, pairs: int) -> None:
        """Let further steps ask another number of pairs.

        Args:
            pairs: How many; 0 ends the search.
        """
        self._memory()["pairs"] = torch.tensor(max(pairs, 0))

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Do one step: draw pairs, have them scored, move the centre.

        Args:
            closure: Returns the utilities [P] of `candidates` on the examples that are `wanted`; it is called once. A
                pair in which one is not finite tells nothing.

        Returns:
            The utilities [P].

        Raises:
            RuntimeError: If the centre has no place yet.
            ValueError: If the closure returns another shape.
        """
        self._check_started()
        settings, length, generator = self.settings, self._length, self._generator()
        centre, self._pairs = evolution.ask(self.centre, settings, self.pairs, generator)
        utilities = closure()
        self._remember(evolution.tell(centre, settings, length, self._pairs, utilities), generator)
        self._memory()["iterations"] += 1
        self._forget_choice()
        return utilities.clone()

    def _remember(self, centre: Centre, generator: torch.Generator) -> None:
        memory = self._memory()
        memory |= {f"centre.{name}": tensor for name, tensor in centre.memory().items()}
        memory["generator"] = generator.get_state()
