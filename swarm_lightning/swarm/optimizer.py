"""The particle swarm as a `torch.optim.Optimizer`: it holds the state between `ask` and `tell`, and computes nothing.

The step length is the learning rate. What it has in common with other optimizers of a search is in
`search_optimizer.py`.
"""

import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from swarm_lightning.swarm import ask_tell
from swarm_lightning.swarm.fused_move import KernelError
from swarm_lightning.swarm.population import FirstVelocity
from swarm_lightning.swarm.rules import restart, stagnant
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.settings import Kernel, SwarmSettings


class ParticleSwarm(SearchOptimizer):
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
        """Set the first positions and the settings of the search.

        Args:
            params: Exactly one tensor: the first positions [N, D], updated in place by every step.
            lr: Step length λ, > 0: the fraction of the new velocity by which a particle moves.
            inertia: Weight φ_v of the current velocity, >= 0.
            cognitive: Weight φ_p of the pull towards the particle's personal best, >= 0.
            social: Weight φ_g of the pull towards the global best, >= 0.
            repel: Weight φ_w of the push away from the global worst, >= 0. 0 switches the repel term off; the global
                worst then stays that of the first positions, because nothing depends on it.
            randomness: Whether each term of each particle (or of each of its groups of weights) is multiplied by a
                number drawn from U(0, 1).
            first_velocity: `random`: towards a random other position; `zero`: none; `best`: towards the global best.
            drop_iteration: Probability in [0, 1) that an iteration evaluates no particle (drop-K).
            drop_particle: Probability in [0, 1) that a particle is not evaluated in an iteration (drop-N).
            kernel: How particles are moved; the results are equal up to rounding. `plain`: torch operations, block by
                block. `compiled`: one fused kernel by torch.compile, or an error if that fails. `auto`: compiled from
                2^28 numbers N x D, with a warning and plain if that fails. It is settled in `begin` and kept to the
                end, also after a resume. Processes that move the same swarm on different machines need `plain` or
                `compiled`.

        Raises:
            ValueError: If there is not exactly one tensor [N, D] with N >= 1, or a setting is out of range.
        """
        settings = SwarmSettings(
            inertia, cognitive, social, repel, randomness, first_velocity, drop_iteration, drop_particle, kernel
        )
        super().__init__(params, lr, settings.to_dict())
        # What the step that is running asks: set before it calls the closure.
        particles = self.positions.shape[0]
        self._candidates = ask_tell.Candidates(
            torch.ones(particles, dtype=torch.bool), torch.zeros(particles, dtype=torch.bool)
        )

    @property
    def settings(self) -> SwarmSettings:
        """The settings of the swarm, without the step length."""
        return SwarmSettings.from_group(self.param_groups[0])

    @property
    def due(self) -> Tensor:
        """The particles [N] bool whose utilities the running step will read; all before the first one."""
        return self._candidates.due

    @property
    def lost(self) -> Tensor:
        """The particles [N] bool whose numbers the running step has made NaN or infinite."""
        return self._candidates.lost

    @property
    def found(self) -> Tensor:
        """The position [D] that the search stands for: the global best, or the personal best that was chosen."""
        return self.swarm.personal_bests[self.found_particle] if self.chosen else self.swarm.global_best

    @property
    def found_utility(self) -> float:
        """Its utility, as it was told or chosen by."""
        return float(self._memory()["chosen_utility"] if self.chosen else self.swarm.global_best_utility)

    @property
    def found_particle(self) -> int:
        """The particle that found it."""
        return int(self._memory()["choice"] if self.chosen else self.swarm.best_particle)

    def choose(self, particle: int, utility: float) -> None:
        """Settle which personal best the search stands for, where other utilities decide than those it was told.

        Args:
            particle: Whose.
            utility: What decided.
        """
        self._memory()["choice"] = torch.tensor(particle)
        self._memory()["chosen_utility"] = torch.tensor(utility, dtype=torch.float64)

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
        group = self.param_groups[0]
        kernel = self._space.settle(group["kernel"], self.positions)
        swarm = ask_tell.begin(self._space, self.positions, utilities, self.settings, generator)
        self.state[group["params"][0]] = {**swarm.memory(), "generator": generator.get_state()}
        group["kernel"] = kernel

    def restart(self, particles: Tensor, cool_down: bool = False) -> None:
        """Put particles back on their personal best, at rest; see `rules.restart`.

        Args:
            particles: Mask [N] bool.
            cool_down: Whether the wait for the next restart begins anew.
        """
        restart(self.swarm, particles, cool_down)

    def restart_stagnant(self, patience: int, cool_down: bool = False) -> None:
        """Restart the particles that have waited long enough for a new personal best.

        Args:
            patience: Restart patience in iterations, >= 1.
            cool_down: Whether the wait for the next restart begins anew.
        """
        self.restart(stagnant(self.swarm, patience), cool_down)

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
        swarm, settings = self.swarm, self.settings
        generator = self._generator()
        draws = ask_tell.draw(self._space, len(swarm.positions), settings, generator)
        try:
            candidates = ask_tell.ask(swarm, self._space, settings, self.step_length, draws)
        except KernelError as error:  # nothing has moved
            if self.defaults["kernel"] != "auto":
                raise
            warnings.warn(f"{error} This search goes on with the plain kernel, at about half the speed.", stacklevel=3)
            self.param_groups[0]["kernel"] = "plain"
            settings = self.settings
            candidates = ask_tell.ask(swarm, self._space, settings, self.step_length, draws)
        self._candidates = candidates
        ask_tell.tell(swarm, settings, candidates, closure())
        self._memory()["generator"] = generator.get_state()
        self._forget_choice()
        return swarm.utilities.clone()
