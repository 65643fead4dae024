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
from swarm_lightning.swarm.evolution import Centre, EvolutionSettings, Pairs
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.state import first_state

# What a search may stand for in the end, from the simplest on.
BEST_EXPERT, START, LAST_CENTRE = "best expert", "start", "last centre"
SIMPLE = (BEST_EXPERT, "mean of the experts", START)  # what takes no step
CHOICES = (*SIMPLE, LAST_CENTRE, "mean of the last centres")
CENTRE = tuple(Centre.__dataclass_fields__)
BUDGET = 44_000


class EvolutionStrategy(SearchOptimizer):
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

    moves_particles: ClassVar[bool] = False
    keeps_bests: ClassVar[bool] = False
    shortens_itself: ClassVar[bool] = True
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
        if isinstance(evaluations, bool) or not isinstance(evaluations, int) or evaluations < 1:
            raise ValueError(f"Expected evaluations to be a whole number of 1 or more, but got {evaluations!r}.")
        settings = EvolutionSettings(steps, batch, deviation, momentum=momentum, averaged=averaged).to_dict()
        del settings["step_length"]
        if minutes is not None and not 0 < minutes < math.inf:
            raise ValueError(f"Expected minutes to be above 0 and finite, but got {minutes}.")
        timed = {} if minutes is None else {"minutes": minutes}  # without: the identity of searches by evaluations
        super().__init__(params, step_length, {"evaluations": evaluations, **settings, **timed})
        self._pairs: Pairs | None = None

    @property
    def settings(self) -> EvolutionSettings:
        """The settings of the strategy; its step length is that of the moment."""
        group = self.param_groups[0]
        return EvolutionSettings.from_group({**group, "step_length": group["lr"]})

    def budget(self, per_second: float) -> int:
        """Return how many (model, example) pairs the whole search may ask.

        Args:
            per_second: How many of them are asked in a second.
        """
        return self.evaluations if self.seconds is None else min(self.evaluations, int(self.seconds * per_second))

    @property
    def step_length(self) -> float:
        """How far the next step goes per number of the position."""
        done = int(self.swarm.iterations) if self.begun else 0
        return evolution.step_length_of(self.settings, done)

    @property
    def started(self) -> bool:
        """Whether the centre has a place."""
        return self.begun and "centre.position" in self._memory()

    @property
    def most_steps(self) -> int:
        """How many steps it does: no further one where what it may ask does not hold a pair a step."""
        return self.settings.steps if not self.started or self.pairs else int(self.swarm.iterations)

    @property
    def searched(self) -> bool:
        """Whether it has done a step."""
        return self.begun and int(self.swarm.iterations) > 0

    @property
    def evaluations(self) -> int:
        """How many (model, example) pairs the whole search may ask, whatever time that takes."""
        return int(self.param_groups[0]["evaluations"])

    @property
    def seconds(self) -> float | None:
        """How long the search may take; None where nothing but evaluations limits it."""
        minutes = self.param_groups[0].get("minutes")
        return None if minutes is None else 60.0 * float(minutes)

    @property
    def centre(self) -> Centre:
        """What the strategy remembers of its steps."""
        memory = self._memory()
        return Centre(**{name: memory[f"centre.{name}"].cpu() for name in CENTRE})

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
    def beginning(self) -> Tensor:
        """Where the centre began [D]."""
        return self._memory()["beginning"]

    @property
    def last_centre(self) -> Tensor:
        """Where the centre is [D]."""
        return self.centre.position.to(self.positions)

    @property
    def average(self) -> Tensor:
        """The mean of the last centres [D], or the centre while there are none."""
        return evolution.found(self.centre, self.settings).to(self.positions.device)

    @property
    def found(self) -> Tensor:
        """The position [D] that the search stands for: what was chosen, or the mean of the last centres until then."""
        if self.chosen:
            return self._memory()["chosen"]
        return self.average if self.started else self.swarm.global_best

    @property
    def found_utility(self) -> float:
        """Its utility; NaN until it has been asked in full."""
        if self.chosen:
            return float(self._memory()["chosen_utility"])
        return math.nan if self.started else float(self.swarm.global_best_utility)

    @property
    def found_particle(self) -> int:
        """Whose noise sampled replies are drawn with: all are, with that of particle 0."""
        return 0

    @property
    def found_name(self) -> str:
        """What it is called in a table."""
        return CHOICES[int(self._memory()["choice"])] if self.chosen else CHOICES[-1]

    def begin(self, utilities: Tensor, generator: torch.Generator) -> None:
        """Remember the utilities of the first positions.

        Args:
            utilities: Utilities of the first positions [N]; higher is better.
            generator: Source of all random numbers of the search, on the CPU; its state is part of the memory.

        Raises:
            ValueError: If the shape is wrong, or no utility is finite.
        """
        if tuple(utilities.shape) != (len(self.positions),):
            raise ValueError(f"Expected {len(self.positions)} utilities, but got {tuple(utilities.shape)}.")
        lost = ~self._space.finite(self.positions)
        memory = first_state(
            self.positions, torch.zeros_like(self.positions), utilities.cpu().masked_fill(lost, -torch.inf)
        ).memory()
        self.state[self.param_groups[0]["params"][0]] = {**memory, "generator": generator.get_state()}

    def start(self, position: Tensor, examples: int, evaluations: int) -> None:
        """Put the centre where it begins.

        Args:
            position: Where [D].
            examples: Number of examples M.
            evaluations: (model, example) pairs that all steps together may ask; where they do not hold one pair a
                step, the search is done at once.
        """
        pairs, generator = self.settings.pairs_held(evaluations, examples), self._generator()
        centre = evolution.begin(position, examples, generator)
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
        if not self.started:
            raise RuntimeError("Expected `start` to be called before the first step.")
        settings, length, generator = self.settings, self.step_length, self._generator()
        centre, self._pairs = evolution.ask(self.centre, settings, self.pairs, generator)
        utilities = closure()
        self._remember(evolution.tell(centre, settings, length, self._pairs, utilities), generator)
        self._memory()["iterations"] += 1
        self._forget_choice()
        return utilities.clone()

    def choose(self, choice: int, position: Tensor, utility: float) -> None:
        """Settle what the search stands for.

        Args:
            choice: Which of `CHOICES`.
            position: Where it lies [D].
            utility: Its utility, asked in full.
        """
        memory = self._memory()
        memory["choice"] = torch.tensor(choice)
        memory["chosen"] = position.detach().to(self.positions).clone()
        memory["chosen_utility"] = torch.tensor(utility, dtype=torch.float64)

    def _remember(self, centre: Centre, generator: torch.Generator) -> None:
        memory = self._memory()
        memory |= {f"centre.{name}": tensor for name, tensor in centre.memory().items()}
        memory["generator"] = generator.get_state()
