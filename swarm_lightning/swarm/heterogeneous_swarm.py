"""Graphs of models and the models' weights, searched together: the optimizer that holds both swarms, and asks for them.

One iteration is a role step and a weight step. In the role step graphs move as particles do, and each is asked with the
models as they are, model i in node i. In the weight step the models' weights move by the same rules; they are asked in
drawn assignments to the nodes of the best graph, and a model's utility is what `contributions.py` makes of these. What
the search stands for is the best system that either step has ever asked. Source: arXiv:2502.04510, Algorithm 3;
BunsenFeng/heterogeneous_swarm, search.py.

Departures. The best graph of the weight step is the best ever found, as in the paper; the release takes the best of the
running iteration, which all graphs would have to be asked in full for. The release restarts models by the count of the
last graph, because of a name that is misspelt; here each swarm restarts by its own count. Models that a first draw left
out begin with no utility, and take the first that they get as their personal best.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from swarm_lightning.swarm import ask_tell
from swarm_lightning.swarm.broken import revive
from swarm_lightning.swarm.contributions import contributions, draw_assignments
from swarm_lightning.swarm.graphs import System
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.rules import restart, stagnant
from swarm_lightning.swarm.settings import SwarmSettings
from swarm_lightning.swarm.spaces.graphs import GraphSpace
from swarm_lightning.swarm.state import Swarm

Moves = Literal["both", "roles", "weights"]
MODELS, BEST = "models.", "best."


class HeterogeneousSwarm(ParticleSwarm):
    """Moves G graphs as particles, and the weights of the n models at their nodes.

    Call `begin` with the utilities of the first graphs, `begin_models` with those of the experts alone, then `step`
    once per iteration.
    """

    keeps_bests: ClassVar[bool] = False  # the models' weights at that time belong to a personal best of a graph

    def __init__(self, params: Iterable[Tensor], assignments: int = 10, moves: Moves = "both", **swarm: Any) -> None:
        """Set the first graphs and the settings of the search, which both swarms share.

        Args:
            params: Exactly one tensor: the first matrices [G, n n], updated in place.
            assignments: Number T of assignments of models to nodes that a weight step evaluates, >= 1.
            moves: `both`; `roles`: only the graphs, with the models unchanged; `weights`: only the models, on the best
                of the first graphs.
            **swarm: Settings of both swarms; see `ParticleSwarm`.

        Raises:
            ValueError: If there is not exactly one tensor, or a setting is out of range.
        """
        if isinstance(assignments, bool) or not isinstance(assignments, int) or assignments < 1:
            raise ValueError(f"Expected assignments to be a whole number of 1 or more, but got {assignments!r}.")
        if moves not in get_args(Moves):
            raise ValueError(f"Expected moves to be one of {', '.join(get_args(Moves))}, but got {moves!r}.")
        super().__init__(params, **swarm)
        own = {"assignments": assignments, "moves": moves}
        self.defaults.update(own)
        self.param_groups[0].update(own)
        # What the running step asks: assignments [T, n] in a weight step, graphs otherwise.
        self._assignments: Tensor | None = None

    @property
    def moves(self) -> Moves:
        """What moves."""
        moves: Moves = self.param_groups[0]["moves"]
        return moves

    @property
    def graphs(self) -> GraphSpace:
        """The space of the graphs."""
        assert isinstance(self._space, GraphSpace)
        return self._space

    @property
    def has_models(self) -> bool:
        """Whether the models' swarm has begun: never where only roles move."""
        return self.begun and f"{MODELS}positions" in self._memory()

    @property
    def models(self) -> Swarm:
        """The memory of the models' swarm [n, D], as views: what is changed there is changed here."""
        memory = self._memory()
        names = Swarm.__dataclass_fields__
        for name in names:  # whoever resumes an optimizer moves its state to the device of the graphs
            memory[MODELS + name] = memory[MODELS + name].cpu()
        return Swarm(**{name: memory[MODELS + name] for name in names})

    @property
    def weights(self) -> Tensor:
        """The models as they are now [n, D]."""
        return self.models.positions if self.has_models else self.graphs.experts

    # What is asked.

    @property
    def candidates(self) -> Tensor:
        """What the running step has moved: matrices [G, n n], or in a weight step the models' weights [n, D]."""
        return self.positions if self._assignments is None else self.weights

    @property
    def asked(self) -> list[System]:
        """The systems that the running step asks: one for each graph, or for each assignment."""
        weights = self.weights
        if self._assignments is None:
            return [self.graphs.system(matrix, graph, weights) for graph, matrix in enumerate(self.positions)]
        best, graph = self.swarm.global_best, int(self.swarm.best_particle)
        return [self.graphs.system(best, graph, weights, assignment) for assignment in self._assignments.tolist()]

    @property
    def due(self) -> Tensor:
        """Which of them [P] bool are asked."""
        return super().due if self._assignments is None else torch.ones(len(self._assignments), dtype=torch.bool)

    @property
    def lost(self) -> Tensor:
        """Whose numbers [P] bool are NaN or infinite; models are put right before they are asked."""
        return super().lost if self._assignments is None else torch.zeros(len(self._assignments), dtype=torch.bool)

    @property
    def numbers(self) -> list[int] | None:
        """The particle whose noise each of them is sampled with: in a weight step that of the best graph."""
        return None if self._assignments is None else [int(self.swarm.best_particle)] * len(self._assignments)

    @property
    def asks_particles(self) -> bool:
        """Whether the graphs are asked."""
        return self._assignments is None

    @property
    def asks_besides(self) -> bool:
        """Whether assignments are asked in an iteration that has asked graphs too."""
        return not self.asks_particles and (self.moves == "both" or not self.has_models)

    @property
    def kind(self) -> str:
        """What is asked, in a word."""
        return "graph" if self.asks_particles else "assignment"

    @property
    def utilities_last(self) -> bool:
        """Whether a graph has the same utility whenever it is asked: only as long as the models stay."""
        return self.moves == "roles"

    # What the search stands for.

    @property
    def expert_utilities(self) -> Tensor:
        """The utilities of the experts alone [n]."""
        return self._memory()["alone"]

    @property
    def found(self) -> Tensor:
        """The matrix [n n] of the best system."""
        return self._memory()[f"{BEST}matrix"]

    @property
    def found_asked(self) -> System:
        """The best system."""
        memory = self._memory()
        weights, assignment = memory[f"{BEST}weights"].cpu(), memory[f"{BEST}assignment"].tolist()
        return self.graphs.system(self.found, self.found_particle, weights, assignment)

    @property
    def found_utility(self) -> float:
        """Its utility."""
        return float(self._memory()[f"{BEST}utility"])

    @property
    def found_particle(self) -> int:
        """The particle whose graph it has."""
        return int(self._memory()[f"{BEST}particle"])

    @property
    def found_name(self) -> str:
        """What it is called in a table."""
        drawn = self._memory()[f"{BEST}assignment"].tolist() != list(range(self.graphs.nodes))
        return f"graph {self.found_particle}" + (", models as drawn" if drawn else "")

    # The steps.

    def begin(self, utilities: Tensor, generator: torch.Generator) -> None:
        """Open the search with the utilities of the first graphs [G]; see `ParticleSwarm.begin`."""
        super().begin(utilities, generator)
        swarm = self.swarm
        self._memory()[f"{BEST}utility"] = torch.tensor(-torch.inf, dtype=torch.float64)
        self._keep_best(swarm.utilities, swarm.positions, range(len(swarm.positions)))

    def begin_models(self, alone: Tensor, closure: Callable[[], Tensor]) -> None:
        """Open the models' swarm by a first draw of assignments, where weights move at all.

        Args:
            alone: Utilities of the experts, each asked alone [n].
            closure: Returns the utilities [T] of what is `asked`; not called where only roles move.

        Raises:
            ValueError: If no assignment has a finite utility.
        """
        self._memory()["alone"] = alone.detach().cpu().double().clone()
        if self.moves == "roles":
            return
        generator = self._generator()
        space, positions = self.graphs.models, self.graphs.experts.clone()
        utilities = self._ask_assignments(generator, closure)
        models = ask_tell.begin(space, positions, utilities, self._settings_of_models, generator)
        memory = self._memory()
        memory |= {MODELS + name: tensor for name, tensor in models.memory().items()}
        memory[f"{MODELS}positions"] = models.positions
        memory["generator"] = generator.get_state()

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Do one iteration: a role step and a weight step.

        Args:
            closure: Returns the utilities [P] of what is `asked`, as it is when it is called: once for each of the two.

        Returns:
            The utility of every graph when it was last asked [G] float64.

        Raises:
            RuntimeError: If the search has not begun.
            ValueError: If the closure returns another shape.
        """
        swarm = self.swarm
        if self.moves != "weights":
            self._assignments = None
            super().step(closure)
            told = swarm.utilities.masked_fill(~self._candidates.due, -torch.inf)  # others were asked of other models
            self._keep_best(told, swarm.positions, range(len(told)))
        if self.moves != "roles":
            self._move_models(closure)
        if self.moves == "weights":  # the graphs stay; what goes on, and may stop rising, are the models
            swarm.iterations.add_(1)
            swarm.plateau.copy_(self.models.plateau)
        return swarm.utilities.clone()

    def restart_stagnant(self, patience: int, cool_down: bool = False) -> None:
        """Restart graphs and models that are stagnant, each by its own count; see `ParticleSwarm.restart_stagnant`."""
        if self.moves != "weights":
            super().restart_stagnant(patience, cool_down)
        if self.has_models:
            restart(self.models, stagnant(self.models, patience), cool_down)

    def _move_models(self, closure: Callable[[], Tensor]) -> None:
        """Do the weight step."""
        models, settings, space = self.models, self._settings_of_models, self.graphs.models
        generator = self._generator()
        draws = ask_tell.draw(space, len(models.positions), settings, generator)
        lost = ask_tell.ask(models, space, settings, self.step_length, draws).lost
        revive(models, lost, ~lost)
        utilities = self._ask_assignments(generator, closure)
        # A model that no assignment drew keeps its last utility.
        ask_tell.tell(models, settings, ask_tell.Candidates(~utilities.isnan(), lost), utilities)
        self._memory()["generator"] = generator.get_state()

    def _ask_assignments(self, generator: torch.Generator, closure: Callable[[], Tensor]) -> Tensor:
        """Draw assignments, have them asked, and return the models' utilities [n]; NaN where one was not drawn."""
        nodes = self.graphs.nodes
        self._assignments = draw_assignments(self.param_groups[0]["assignments"], nodes, range(nodes), generator)
        try:
            utilities = closure().detach().cpu().double()
            if tuple(utilities.shape) != (len(self._assignments),):
                raise ValueError(f"Expected {len(self._assignments)} utilities, but got {tuple(utilities.shape)}.")
            swarm = self.swarm
            matrices = swarm.global_best.expand(len(utilities), -1)
            self._keep_best(utilities, matrices, [int(swarm.best_particle)] * len(utilities), self._assignments)
            return contributions(self._assignments, utilities, nodes)
        finally:
            if self.moves == "both" or not self.has_models:
                self._assignments = None

    def _keep_best(
        self, utilities: Tensor, matrices: Tensor, particles: Iterable[int], assignments: Tensor | None = None
    ) -> None:
        """Keep the best of the systems that were asked, where it is better than all before: the first among equals."""
        memory = self._memory()
        known = utilities.masked_fill(~utilities.isfinite(), -torch.inf)
        best = int(known.argmax())
        if not known[best] > memory[f"{BEST}utility"]:
            return
        nodes = torch.arange(self.graphs.nodes)
        memory[f"{BEST}utility"] = known[best].clone()
        memory[f"{BEST}matrix"] = matrices[best].clone()
        memory[f"{BEST}particle"] = torch.tensor(list(particles)[best])
        memory[f"{BEST}assignment"] = nodes if assignments is None else assignments[best].clone()
        memory[f"{BEST}weights"] = self.weights.clone()

    @property
    def _settings_of_models(self) -> SwarmSettings:
        """The settings of the models' swarm: all of its models are asked, and the plain kernel moves them."""
        return replace(self.settings, drop_iteration=0.0, drop_particle=0.0, kernel="plain")
