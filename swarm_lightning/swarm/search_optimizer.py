"""What every optimizer of a search has: positions, what they mean, a memory that checkpoints hold, and what was found.

It is a `torch.optim.Optimizer` that holds the state between two steps, and computes nothing. The positions [N, D] are
its one parameter and the memory is optimizer state, so whatever saves, resumes, schedules or logs an optimizer does the
same for a search. What a step does is in the classes that derive from it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from swarm_lightning.swarm.space import Space
from swarm_lightning.swarm.spaces.dense import DenseSpace
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.vectors import Vector, Vectors

# What the memory holds of a choice that was made when the steps had ended.
CHOSEN = ("choice", "chosen", "chosen_utility")
# What lives where the positions live; everything else is a few numbers per particle and stays on the CPU.
ON_DEVICE = frozenset({"velocities", "personal_bests", "global_best", "global_worst"})


class SearchOptimizer(Optimizer):
    """Holds the positions and the memory of a search.

    Attributes:
        moves_particles: Whether the particles themselves move, so that restarts, patience and personal bests mean
            something.
        keeps_bests: Whether it keeps personal bests that are all it takes to ask and to write what they stand for.
        shortens_itself: Whether its steps get shorter by themselves, so that a schedule need not do it.
        after_breaking: What becomes of a candidate whose numbers went wrong, as a sentence.
    """

    moves_particles: ClassVar[bool] = True
    keeps_bests: ClassVar[bool] = True
    shortens_itself: ClassVar[bool] = False
    after_breaking: ClassVar[str] = "It counts as the worst and goes on from its personal best."

    def __init__(self, params: Iterable[Tensor], lr: float, settings: Mapping[str, Any]) -> None:
        """Take the positions.

        Args:
            params: Exactly one tensor: the first positions [N, D].
            lr: Step length, > 0.
            settings: All others, as plain values.

        Raises:
            ValueError: If there is not exactly one tensor [N, D] with N >= 1, or the step length is out of range.
        """
        tensors = [params] if isinstance(params, Tensor) else list(params)
        if len(tensors) != 1 or not isinstance(tensors[0], Tensor) or tensors[0].dim() != 2 or not len(tensors[0]):
            shapes = [tuple(getattr(tensor, "shape", ())) for tensor in tensors]
            raise ValueError(f"Expected one tensor of positions [N, D] with N >= 1, but got shapes {shapes}.")
        if not 0 < lr < float("inf"):
            raise ValueError(f"Expected the step length lr to be above 0 and finite, but got {lr}.")
        super().__init__(tensors, {"lr": lr, **settings})
        self._space: Space = DenseSpace()

    @property
    def positions(self) -> Tensor:
        """The positions [N, D]: the one parameter."""
        return self.param_groups[0]["params"][0].data

    @property
    def begun(self) -> bool:
        """Whether the first positions have been evaluated."""
        return bool(self.state)

    @property
    def swarm(self) -> Swarm:
        """The memory of the particles, as views: what is changed there is changed here.

        Raises:
            RuntimeError: If the search has not begun.
        """
        if not self.begun:
            raise RuntimeError("Expected `begin` to be called with the first utilities before the swarm is used.")
        memory = self._memory()
        for name in memory.keys() - ON_DEVICE:  # whoever resumes an optimizer moves all of its state to the device
            memory[name] = memory[name].cpu()
        fields = Swarm.__dataclass_fields__.keys() - {"positions"}
        return Swarm(positions=self.positions, **{name: memory[name] for name in fields})

    @property
    def space(self) -> Space:
        """What the positions mean: weights in memory, unless `enter` has said otherwise."""
        return self._space

    def enter(self, space: Space) -> None:
        """Say what the positions mean.

        Args:
            space: Which space they lie in.

        Raises:
            RuntimeError: If the search has begun.
        """
        if self.begun:
            raise RuntimeError("Expected a space before the search begins, but it has begun.")
        self._space = space

    @property
    def step_length(self) -> float:
        """How far the next step goes."""
        return float(self.param_groups[0]["lr"])

    # What is asked: whoever evaluates asks here.

    @property
    def candidates(self) -> Tensor:
        """The vectors [P, D] of the space whose utilities the running step wants: the positions before the first."""
        return self.positions

    @property
    def asked(self) -> Vectors:
        """What is asked of the candidates: as a rule the weights behind them [P, D], or P vectors."""
        return self._space.vectors(self.candidates)

    @property
    def numbers(self) -> list[int] | None:
        """The particle whose noise each candidate is sampled with [P]; None where candidate i is particle i.

        Candidates that are compared with each other, and are no particles, are sampled with the same random numbers.
        """
        return None if self.wanted is None else [0] * len(self.candidates)

    @property
    def asks_particles(self) -> bool:
        """Whether the candidates are the particles, so that what is found out is their utility."""
        return self.wanted is None

    @property
    def asks_besides(self) -> bool:
        """Whether the running step has asked its particles already, and asks something else beside them."""
        return False

    @property
    def kind(self) -> str:
        """What a candidate is, in a word."""
        return "particle" if self.asks_particles else "candidate"

    @property
    def utilities_last(self) -> bool:
        """Whether a position has the same utility whenever it is asked."""
        return True

    @property
    def due(self) -> Tensor:
        """Which candidates' utilities [P] bool the running step will read; all before the first one."""
        return torch.ones(len(self.candidates), dtype=torch.bool)

    @property
    def lost(self) -> Tensor:
        """Which candidates' numbers [P] bool are NaN or infinite."""
        return ~self._space.finite(self.candidates)

    @property
    def wanted(self) -> Tensor | None:
        """Which examples each candidate is asked [P, M] bool; None for all of them."""
        return None

    @property
    def most_steps(self) -> int | None:
        """How many steps it does at most, however many the trainer allows; None for any number."""
        return None

    @property
    def done(self) -> bool:
        """Whether it has no step left to do."""
        return self.most_steps is not None and self.begun and int(self.swarm.iterations) >= self.most_steps

    # What a search stands for: whoever scores, exports or reports its result asks here.

    @property
    def chosen(self) -> bool:
        """Whether it was settled when the steps had ended, by other utilities than theirs."""
        return self.begun and "choice" in self._memory()

    @property
    def found(self) -> Tensor:
        """The position [D] that the search stands for: the global best."""
        return self.swarm.global_best

    @property
    def found_asked(self) -> Vector:
        """What is asked of it: as a rule the weights behind it [D]."""
        return self._space.vector(self.found)

    @property
    def expert_utilities(self) -> Tensor:
        """The utilities of the n experts before the first step; those of further first positions may follow."""
        return self.swarm.initial_utilities

    @property
    def found_utility(self) -> float:
        """Its utility, as the search knows it."""
        return float(self.swarm.global_best_utility)

    @property
    def found_particle(self) -> int:
        """The particle whose noise its sampled replies are drawn with: the one that found it."""
        return int(self.swarm.best_particle)

    @property
    def found_name(self) -> str:
        """What it is called in a table."""
        return f"particle {self.found_particle}"

    @property
    def held(self) -> dict[str, Tensor]:
        """Every tensor of the particles by name, as far as there are any."""
        return {"positions": self.positions, **(self.swarm.memory() if self.begun else {})}

    def diversity(self) -> float:
        """Measure how far the particles are spread; see `rules.diversity`."""
        return self._space.diversity(self.positions)

    def begin(self, utilities: Tensor, generator: torch.Generator) -> None:
        """Open the search with the utilities of the first positions.

        Args:
            utilities: Utilities of the first positions [N]; higher is better.
            generator: Source of all random numbers of the search, on the CPU; its state is part of the memory.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Do one step.

        Args:
            closure: Returns the utilities of the candidates [P]; it is called once.

        Returns:
            Utilities.
        """
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state that `state_dict` returned.

        Args:
            state_dict: State of a search with as many particles and weights as this one.
        """
        super().load_state_dict(state_dict)
        # torch casts every tensor to the dtype of the parameter; counters, utilities and generator must keep theirs.
        saved: dict[str, Tensor] = next(iter(state_dict["state"].values()), {})
        memory = self._memory() if saved else {}
        for name, value in saved.items():
            if value.dtype != memory[name].dtype:
                memory[name] = value.cpu().clone()

    def _forget_choice(self) -> None:
        """Take back what was chosen: a search that goes on has not ended."""
        for name in CHOSEN:
            self._memory().pop(name, None)

    def _generator(self) -> torch.Generator:
        """Return the source of the next random numbers, in the state that the memory holds."""
        generator = torch.Generator()
        generator.set_state(self._memory()["generator"].cpu())
        return generator

    def _memory(self) -> dict[str, Tensor]:
        return self.state[self.param_groups[0]["params"][0]]
