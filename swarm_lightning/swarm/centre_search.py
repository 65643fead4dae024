"""What searches have in common that move no particles: one centre, which begins at a sum of the experts.

The particles are the first positions, and stay where they are: what moves is the centre, and what a step asks are
candidates around it. So of a swarm's memory it has the utilities of the first positions and no more. How the centre
moves is in the classes that derive from it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.state import first_state

# What a search may stand for in the end, from the simplest on; two things that its steps have found come to these.
BEST_EXPERT, MEAN, START, LAST_CENTRE = "best expert", "mean of the experts", "start", "last centre"
SIMPLE = (BEST_EXPERT, MEAN, START)  # what takes no step
CHOSEN_AMONG = len(SIMPLE) + 2
BUDGET = 44_000


class CentreSearch(SearchOptimizer):
    """Moves a centre. Call `begin`, then `start`, then `step` until it is `done`, and `choose` at the end.

    Attributes:
        choices: What a search may stand for in the end, `CHOSEN_AMONG` names: `SIMPLE`, the centre, and one more.
    """

    moves_particles: ClassVar[bool] = False
    keeps_bests: ClassVar[bool] = False
    shortens_itself: ClassVar[bool] = True
    choices: ClassVar[tuple[str, ...]]

    def __init__(self, params: Iterable[Tensor], lr: float, evaluations: int, settings: Mapping[str, Any]) -> None:
        """Set the first positions and the budget.

        Args:
            params: Exactly one tensor: the first positions [N, D], which are evaluated on all examples and not moved.
            lr: Step length, > 0.
            evaluations: (model, example) pairs that the whole search may use, >= 1.
            settings: All others, as plain values.

        Raises:
            ValueError: If there is not exactly one tensor [N, D] with N >= 1, or a number is out of range.
        """
        if isinstance(evaluations, bool) or not isinstance(evaluations, int) or evaluations < 1:
            raise ValueError(f"Expected evaluations to be a whole number of 1 or more, but got {evaluations!r}.")
        super().__init__(params, lr, {"evaluations": evaluations, **settings})

    # How the centre moves is said by the class that derives from this one.

    @property
    def last_centre(self) -> Tensor:
        """Where the centre is [D]."""
        raise NotImplementedError

    @property
    def average(self) -> Tensor:
        """What the steps have found beside the centre [D]; the centre while there is nothing."""
        raise NotImplementedError

    @property
    def planned(self) -> str:
        """What the steps will ask, in words."""
        raise NotImplementedError

    @property
    def asked_by_step(self) -> int:
        """(model, example) pairs that the next step asks, once the centre has a place."""
        raise NotImplementedError

    def least(self, examples: int) -> int:
        """Return the fewest (model, example) pairs that a search asks in its steps.

        Args:
            examples: Number of examples M.
        """
        raise NotImplementedError

    def steps_held(self, evaluations: int, examples: int) -> int:
        """Return how many steps so many (model, example) pairs hold.

        Args:
            evaluations: What all steps together may ask.
            examples: Number of examples M.
        """
        raise NotImplementedError

    def start(
        self, position: Tensor, examples: int, evaluations: int, free: Tensor | None = None, unit: float = 1.0
    ) -> None:
        """Put the centre where it begins.

        Args:
            position: Where [D].
            examples: Number of examples M.
            evaluations: (model, example) pairs that all steps together may ask; where they do not hold a step, the
                search is done at once.
            free: Which numbers of the centre are moved [D] bool; all where not given.
            unit: What distances are measured in.

        Raises:
            ValueError: If it can't leave numbers where they are, and is to.
        """
        raise NotImplementedError

    # What follows is the same for all of them.

    def budget(self, per_second: float) -> int:
        """Return how many (model, example) pairs the whole search may ask.

        Args:
            per_second: How many of them are asked in a second.
        """
        return self.evaluations if self.seconds is None else min(self.evaluations, int(self.seconds * per_second))

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
    def started(self) -> bool:
        """Whether the centre has a place."""
        return self.begun and "beginning" in self._memory()

    @property
    def searched(self) -> bool:
        """Whether it has done a step."""
        return self.begun and int(self.swarm.iterations) > 0

    @property
    def beginning(self) -> Tensor:
        """Where the centre began [D]."""
        return self._memory()["beginning"]

    @property
    def found(self) -> Tensor:
        """The position [D] that the search stands for: what was chosen, or `average` until then."""
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
        return self.choices[int(self._memory()["choice"])] if self.chosen else self.choices[-1]

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

    def _check_started(self) -> None:
        """See that a step can be done.

        Raises:
            RuntimeError: If the centre has no place yet.
        """
        if not self.started:
            raise RuntimeError("Expected `start` to be called before the first step.")

    def choose(self, choice: int, position: Tensor, utility: float) -> None:
        """Settle what the search stands for.

        Args:
            choice: Which of `choices`.
            position: Where it lies [D].
            utility: Its utility, asked in full.
        """
        memory = self._memory()
        memory["choice"] = torch.tensor(choice)
        memory["chosen"] = position.detach().to(self.positions).clone()
        memory["chosen_utility"] = torch.tensor(utility, dtype=torch.float64)
