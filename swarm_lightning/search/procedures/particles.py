"""What a search does before, between and after the steps of a particle swarm."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.names import FOUND
from swarm_lightning.objectives.protocol import HasTasks
from swarm_lightning.search.export import ExportingSearch
from swarm_lightning.search.guide import choose_by_objective
from swarm_lightning.search.measures import measure, names_of_metrics, note_parts, parts_in
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.soups import greedy_soup, soup_of


class Begun(NamedTuple):
    """What is settled before the first step.

    Attributes:
        every: Number of iterations between two evaluations of the best position by the objective, where a guide is
            followed; 0 for none.
        starts: The utility of everything that the steps could have begun with, by name, their beginning first; empty
            where there was no choice.
    """

    every: int
    starts: Mapping[str, float] = {}


class Procedure:
    """What stands around the steps of a particle swarm.

    Attributes:
        search: What is searched with: it asks, and keeps what comes of it in its state.
    """

    def __init__(self, search: ExportingSearch) -> None:
        """Take the search.

        Args:
            search: What is searched with.
        """
        self.search = search

    def metric_names(self) -> list[str]:
        """Return the names of what `measure` measures."""
        objective = self.search.objective
        tasks = objective.tasks if isinstance(objective, HasTasks) else ()
        return names_of_metrics(self.search.settings.particles, tasks)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse a search that can't begin, before anything is asked.

        Args:
            examples: What will be asked, M of them.

        Raises:
            InputError: If it can't.
        """

    def complete(self, examples: Sequence[Example], utilities: Tensor) -> Tensor:
        """Put the greedy soup of the experts in the place of the last first position, where the start has one.

        The position stays as it is where the experts are all broken.

        Args:
            examples: What to ask, M of them.
            utilities: Of the first positions by what is followed [N] float64.

        Returns:
            Those that the swarm begins with [N] float64.
        """
        search, state = self.search, self.search.state
        if not search.settings.start.soup:
            return utilities
        assert state.evaluation is not None
        positions = self.swarm.positions
        experts, last = positions[: len(search.pool.names)], len(positions) - 1
        asked: list[Evaluation] = []

        def utility_of(soup: Tensor) -> float:
            asked.append(search.ask_in_full(soup[None], examples, search.followed, [last]))
            return float(asked[-1].utilities[0])

        chosen, utility = greedy_soup(experts, utilities[: len(experts)], utility_of)
        if not math.isfinite(utility):
            return utilities
        positions[last] = soup_of(experts, chosen)
        named = ", ".join(search.pool.names[place] for place in chosen)
        rank_zero_info(f"Particle {last} begins as the greedy soup of {named} ({utility:.4f}).")
        # What was kept last is worth the most: everything later was worth less. Nothing of an expert alone was asked.
        kept = [one for one in asked if float(one.utilities[0]) == utility]
        told = (state.evaluation, chosen[0]) if len(chosen) == 1 else (kept[-1], 0)
        reported = search.ask_in_full(positions[last:], examples, search.objective, [last]) if state.guided else None
        state.replace_first(last, *told, reported)
        return state.evaluation.utilities

    def begin(self, examples: Sequence[Example], score: Callable[[], Tensor]) -> Begun:
        """Do what comes between the first positions' utilities, which the optimizer has, and its first step.

        Args:
            examples: What to ask, M of them.
            score: Scores what the optimizer asks, as in a step.
        """
        return Begun(self.search.settings.objective_every or 0 if self.search.state.guided else 0)

    def before_step(self, examples: Sequence[Example]) -> None:
        """Do what comes before every step.

        Args:
            examples: What will be asked, M of them.
        """

    def stakes(self) -> Stakes | None:
        """Say what the running step has to find out, where the exact stop may leave something unasked."""
        swarm = self.swarm
        if not swarm.begun or not swarm.asks_particles:
            return None
        return self.search.state.scores.stakes(swarm.swarm, swarm.settings.repel > 0, swarm.utilities_last)

    def parts(self, examples: Sequence[Example]) -> dict[str, dict[str, float]]:
        """Return the utility of every task by the objective, of the best initial and the best found expert.

        While a guide is followed, they are those that were known before.

        Args:
            examples: What was asked, M of them.
        """
        search, state = self.search, self.search.state
        if state.guided:
            return state.parts
        return note_parts(
            search.objective, self.swarm.swarm, state.scores.best, search.best_initial, examples, state.parts
        )

    def measure(self, examples: Sequence[Example]) -> dict[str, float]:
        """Measure the iteration that has just ended, whose `parts` the state knows.

        Args:
            examples: What was asked, M of them.
        """
        search, state, swarm = self.search, self.search.state, self.swarm
        assert state.evaluation is not None
        parts = state.parts
        if state.guided:
            scores = state.scores.best[int(swarm.swarm.best_particle)]
            parts = {FOUND: parts_in(search.followed, scores, examples)}
        return measure(
            swarm, state.evaluation, state.scoring_seconds, state.broken, state.scores.reach, parts, state.besides
        )

    @property
    def open(self) -> bool:
        """Whether it is still to be settled what the search stands for: where a guide was followed."""
        return self.search.state.guided and not self.swarm.chosen

    def choose(self, examples: Sequence[Example]) -> tuple[dict[str, float], Tensor | None]:
        """Settle what the search stands for, by its objective.

        Args:
            examples: What to ask, M of them.

        Returns:
            The utility of everything that was chosen among, by name, and the scores of what was chosen [M]; None where
            nothing was asked.
        """
        search = self.search
        return choose_by_objective(
            self.swarm,
            lambda positions, numbers: search.ask_in_full(positions, examples, search.objective, numbers),
        )

    @property
    def swarm(self) -> ParticleSwarm:
        """What does the steps."""
        swarm = self.search.particle_swarm
        assert isinstance(swarm, ParticleSwarm)
        return swarm
