"""The particle swarm as a `torch.optim.Optimizer`: it holds the state and calls the rules.

The positions [N, D] are its one parameter, the memory of the swarm is optimizer state and the step length is the
learning rate. So whatever saves, resumes, schedules or logs an optimizer does the same for a swarm.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer

from swarm_lightning.swarm.broken import finite_rows, revive
from swarm_lightning.swarm.coefficient_space import CoefficientSpace
from swarm_lightning.swarm.fused_move import Kernel, KernelError, move_fused, worth_compiling
from swarm_lightning.swarm.population import FirstVelocity, first_velocities
from swarm_lightning.swarm.rows import RowStore
from swarm_lightning.swarm.rules import Coefficients, diversity, due, move, remember, restart
from swarm_lightning.swarm.state import Swarm, first_state
from swarm_lightning.swarm.stored_moves import Survey, first_velocity_rows, move_rows, survey_rows
from swarm_lightning.vectors import Vector, Vectors

# What lives where the positions live; everything else is a few numbers per particle and stays on the CPU.
ON_DEVICE = frozenset({"velocities", "personal_bests", "global_best", "global_worst"})


class ParticleSwarm(Optimizer):
    """Moves N particles through D-dimensional space towards higher utility, without gradients.

    Call `begin` once with the utilities of the first positions, then `step` once per iteration.

    >>> positions = torch.tensor([[0.0], [1.0], [4.0]])
    >>> swarm = ParticleSwarm([positions], lr=0.5)
    >>> swarm.begin(-(positions[:, 0] - 2).abs(), torch.Generator().manual_seed(1))
    >>> for _ in range(20):
    ...     _ = swarm.step(lambda: -(positions[:, 0] - 2).abs())
    >>> bool(swarm.swarm.global_best_utility > -0.5)
    True
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.75,
        inertia: float = 0.2,
        cognitive: float = 0.3,
        social: float = 0.4,
        repel: float = 0.05,
        randomness: bool = True,
        first_velocity: FirstVelocity = "random",
        drop_iteration: float = 0.0,
        drop_particle: float = 0.0,
        kernel: Kernel = "auto",
    ) -> None:
        """Take the positions and the settings of the search.

        Args:
            params: Exactly one tensor: the first positions [N, D], updated in place by every step.
            lr: Step length λ: the fraction of the new velocity that is travelled, > 0.
            inertia: Weight φ_v of the present velocity, >= 0.
            cognitive: Weight φ_p of the pull towards the particle's personal best, >= 0.
            social: Weight φ_g of the pull towards the global best, >= 0.
            repel: Weight φ_w of the push away from the global worst, >= 0; 0 switches the repel term off, and then the
                global worst stays the worst of the first positions: nothing depends on how low a later utility is.
            randomness: Whether each term of each particle is multiplied by a number drawn from U(0, 1), or where there
                are groups of weights, each term of each of these.
            first_velocity: `random`, `zero` or `best`.
            drop_iteration: Probability in [0, 1) that an iteration evaluates no particle (drop-K).
            drop_particle: Probability in [0, 1) that a particle is not evaluated in an iteration (drop-N).
            kernel: What moves the particles; the numbers are the same to rounding. `plain`: operations of torch, block
                by block. `compiled`: one fused kernel through torch.compile, an error where that fails. `auto`:
                compiled for 2^28 numbers N x D and more, with a warning and plain where that fails. `begin` settles
                it; a search keeps its kernel to the end, and a loaded state brings its own along. Processes that move
                the same swarm on machines of different kinds need `plain` or `compiled`.

        Raises:
            ValueError: If there is not exactly one tensor [N, D] with N >= 1, or a setting is out of range.
        """
        tensors = [params] if isinstance(params, Tensor) else list(params)
        if len(tensors) != 1 or not isinstance(tensors[0], Tensor) or tensors[0].dim() != 2 or not len(tensors[0]):
            shapes = [tuple(getattr(tensor, "shape", ())) for tensor in tensors]
            raise ValueError(f"Expected one tensor of positions [N, D] with N >= 1, but got shapes {shapes}.")
        if not 0 < lr < float("inf"):
            raise ValueError(f"Expected the step length lr to be above 0 and finite, but got {lr}.")
        for name, probability in (("drop_iteration", drop_iteration), ("drop_particle", drop_particle)):
            if not 0 <= probability < 1:
                raise ValueError(f"Expected {name} to be a probability in [0, 1), but got {probability}.")
        if first_velocity not in ("random", "zero", "best"):
            raise ValueError(f"Expected first_velocity to be 'random', 'zero' or 'best', but got {first_velocity!r}.")
        if kernel not in get_args(Kernel):
            raise ValueError(f"Expected kernel to be 'auto', 'compiled' or 'plain', but got {kernel!r}.")
        Coefficients(inertia, cognitive, social, repel)
        settings = {
            "inertia": inertia,
            "cognitive": cognitive,
            "social": social,
            "repel": repel,
            "randomness": randomness,
            "first_velocity": first_velocity,
            "drop_iteration": drop_iteration,
            "drop_particle": drop_particle,
            "kernel": kernel,
        }
        super().__init__(tensors, {"lr": lr, **settings})
        particles = self.positions.shape[0]
        # Set by every step before it calls the closure: the particles [N] whose utilities it will read.
        self.due = torch.ones(particles, dtype=torch.bool)
        # And those whose weights the move has made NaN or infinite [N]: there is nothing to evaluate.
        self.lost = torch.zeros(particles, dtype=torch.bool)
        # Where the weights lie if positions and memory are numbers of rows [N, 1]; see `rows.py`.
        self.rows: RowStore | None = None
        self._survey: Survey | None = None
        # What positions and memory are if they are coefficients of the experts [N, n]; see `coefficient_space.py`.
        self.space: CoefficientSpace | None = None
        # Sizes of the groups of weights that are moved with random numbers of their own; None for one of all.
        self.groups: Sequence[int] | None = None

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
        """The swarm's memory, as views: what is changed there is changed here.

        Raises:
            RuntimeError: If the search has not begun.
        """
        if not self.begun:
            raise RuntimeError("Expected `begin` to be called with the first utilities before the swarm is used.")
        memory = self._memory()
        for name in memory.keys() - ON_DEVICE:  # whoever resumes an optimizer moves all of its state to the device
            memory[name] = memory[name].cpu()
        return Swarm(positions=self.positions, **{name: memory[name] for name in memory if name != "generator"})

    def vectors(self, held: Tensor) -> Vectors:
        """Return the weights behind a matrix of the swarm, such as its positions.

        That is the matrix itself, its N rows on the disk, or what its coefficients make of the experts.
        """
        if self.space is not None:
            return self.space.vectors(held)
        return held if self.rows is None else self.rows.rows(held)

    def vector(self, held: Tensor) -> Vector:
        """Return the weights behind a vector of the swarm, such as its global best; see `vectors`."""
        if self.space is not None:
            return self.space.vector(held)
        return held if self.rows is None else self.rows.row(int(held))

    def diversity(self) -> float:
        """Measure how far the particles are spread; see `rules.diversity`."""
        if self.rows is None:
            return diversity(self.positions)
        return self._surveyed(self.rows).diversity

    def begin(self, utilities: Tensor, generator: torch.Generator) -> None:
        """Open the search with the utilities of the first positions.

        Velocities and personal bests become new tensors [N, D] beside the positions.

        Args:
            utilities: Utilities of the first positions [N]; higher is better. Positions that are not finite have none,
                and become that of the best.
            generator: Source of all random numbers of the search, on the CPU; its state is part of the swarm's.

        Raises:
            ValueError: If the shape is wrong, no utility is finite, or the kernel can't move groups of weights.
        """
        self._check_utilities(utilities)
        group = self.param_groups[0]
        if self.groups is not None and group["kernel"] == "compiled":
            raise ValueError("Expected kernel to be auto or plain with groups of weights, but got 'compiled'.")
        lost = ~self._finite()
        utilities = utilities.detach().to("cpu", torch.float64)
        utilities = utilities.masked_fill(lost | utilities.isinf(), -torch.inf)
        if lost.any() and utilities.isfinite().any():
            best = int(utilities.masked_fill(~utilities.isfinite(), -torch.inf).argmax())
            for index in lost.nonzero().flatten().tolist():
                self.positions[index].copy_(self.positions[best])
            self._survey = None
        mode = group["first_velocity"]
        if self.rows is None:
            velocities = first_velocities(self.positions, utilities, mode, generator)
        else:
            velocities = first_velocity_rows(self.rows, self.positions, utilities, mode, generator)
        swarm = first_state(self.positions, velocities, utilities)
        self.state[group["params"][0]] = {**swarm.memory(), "generator": generator.get_state()}
        if group["kernel"] == "auto":
            fused = self.groups is None and worth_compiling(self.positions)
            group["kernel"] = "compiled" if fused else "plain"

    def restart(self, particles: Tensor, cool_down: bool = False) -> None:
        """Put particles back on their personal best, at rest; see `rules.restart`.

        Args:
            particles: Mask [N] bool.
            cool_down: Whether the wait for the next restart begins anew.
        """
        restart(self.swarm, particles, cool_down)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Do one iteration: move every particle, have it scored, remember the bests.

        Args:
            closure: Returns the utilities [N] of the current positions; it is called once, after the move. Only
                those of the particles in `due` are read. NaN leaves a utility open; an infinite one breaks a particle.

        Returns:
            The utility of every particle when it was last evaluated [N] float64; NaN where it was left open, -inf where
            the particle was broken (see `broken.py`).

        Raises:
            RuntimeError: If the search has not begun, or the kernel is `compiled` and can't be compiled.
            ValueError: If the closure returns another shape.
        """
        swarm, group = self.swarm, self.param_groups[0]
        generator = torch.Generator()
        generator.set_state(self._memory()["generator"])
        particles = swarm.positions.shape[0]
        moved = (particles,) if self.groups is None else (particles, len(self.groups))
        draws = torch.rand(*moved, 4, dtype=torch.float64, generator=generator)
        if not group["randomness"]:
            draws.fill_(1)
        coefficients = Coefficients(group["inertia"], group["cognitive"], group["social"], group["repel"])
        self._move(swarm, draws, coefficients)
        drawn = due(particles, group["drop_iteration"], group["drop_particle"], generator)
        self.lost = ~self._finite()
        self.due = drawn & ~self.lost
        utilities = closure()
        self._check_utilities(utilities)
        utilities = utilities.detach().to("cpu", torch.float64)
        broken = self.lost | (self.due & utilities.isinf())
        remember(swarm, utilities.masked_fill(broken, -torch.inf), self.due | broken, track_worst=group["repel"] > 0)
        revive(swarm, broken, ~self.lost)
        if broken.any():
            self._survey = None
        self._memory()["generator"] = generator.get_state()
        return swarm.utilities.clone()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state that `state_dict` returned.

        Args:
            state_dict: State of a swarm with as many particles and weights as this one.
        """
        super().load_state_dict(state_dict)
        # torch casts every tensor to the dtype of the parameter; counters, utilities and generator must keep theirs.
        saved: dict[str, Tensor] = next(iter(state_dict["state"].values()), {})
        memory = self._memory() if saved else {}
        for name, value in saved.items():
            if value.dtype != memory[name].dtype:
                memory[name] = value.cpu().clone()

    def _move(self, swarm: Swarm, draws: Tensor, coefficients: Coefficients) -> None:
        group = self.param_groups[0]
        if self.rows is not None:
            self._survey = move_rows(self.rows, swarm, draws, coefficients, float(group["lr"]))
            return
        if group["kernel"] == "compiled":
            try:
                move_fused(swarm, draws, coefficients, float(group["lr"]))
                return
            except KernelError as error:  # nothing has moved
                if self.defaults["kernel"] != "auto":
                    raise
                warnings.warn(
                    f"{error} This search goes on with the plain kernel, at about half the speed.", stacklevel=4
                )
                group["kernel"] = "plain"
        move(swarm, draws, coefficients, float(group["lr"]), self.groups)

    def _finite(self) -> Tensor:
        return finite_rows(self.positions) if self.rows is None else self._surveyed(self.rows).finite

    def _surveyed(self, rows: RowStore) -> Survey:
        if self._survey is None:  # a move makes it by the way
            self._survey = survey_rows(rows, self.positions)
        return self._survey

    def _memory(self) -> dict[str, Tensor]:
        return self.state[self.param_groups[0]["params"][0]]

    def _check_utilities(self, utilities: Tensor) -> None:
        particles = self.positions.shape[0]
        if tuple(utilities.shape) != (particles,):
            raise ValueError(f"Expected {particles} utilities, one per particle, but got {tuple(utilities.shape)}.")
