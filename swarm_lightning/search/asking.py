"""A search that can ask: by its objective or by its guide, as particles do or beside them, and each thing only once.

What the running iteration has found is kept in a journal until a checkpoint holds it. What is asked when, and what
follows, is in `model_swarm.py`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.search.objective import objective_state
from swarm_lightning.search.parts import Asked
from swarm_lightning.search.prepared import PreparedSearch
from swarm_lightning.search.scoring import open_journal
from swarm_lightning.search.settings import SearchSettings, settings_of
from swarm_lightning.vectors import Vectors


class AskingSearch(PreparedSearch):
    """A prepared search with a journal.

    Attributes:
        journal: Where the scores of the running iteration are kept until a checkpoint holds them; nowhere by default.
    """

    def __init__(self, settings: SearchSettings, objective: Objective | None) -> None:
        """Take the settings; see `PreparedSearch`."""
        super().__init__(settings, objective)
        self.journal = ScoreJournal()

    def keep_running_scores(self, folder: Path) -> None:
        """Keep the scores of the running iteration in a folder until a checkpoint holds them."""
        self.journal = ScoreJournal(folder)

    def first_scores(self, examples: Sequence[Example], objective: Objective) -> Evaluation:
        """Ask the first positions everything, as far as no other search has.

        Args:
            examples: What to ask, M of them.
            objective: What scores them: the search's, or its guide.
        """
        positions = self.particle_swarm.asked
        self.open_journal(examples, positions, objective)

        def ask(due: Tensor) -> Evaluation:
            return self.evaluator_of(objective).evaluate(positions, examples, due, journal=self.journal)

        return self._parts.sharing.first_scores(self.asked_of(objective), positions, ask)

    def ask_in_full(
        self,
        positions: Tensor,
        examples: Sequence[Example],
        objective: Objective,
        numbers: Sequence[int] | None = None,
    ) -> Evaluation:
        """Ask positions beside the candidates of a step everything, and count it.

        Args:
            positions: Where they lie [P, D].
            examples: What to ask, M of them.
            objective: What scores them: the search's, or its guide.
            numbers: The particle whose noise sampled replies are drawn with [P]; the first for all where not given.
        """
        numbers = [0] * len(positions) if numbers is None else numbers
        return self.ask_vectors(self.particle_swarm.space.vectors(positions), examples, objective, numbers)

    def ask_vectors(
        self, vectors: Vectors, examples: Sequence[Example], objective: Objective, numbers: Sequence[int]
    ) -> Evaluation:
        """Ask what stands behind positions everything, and count it.

        Args:
            vectors: What the space makes of positions, P of them.
            examples: What to ask, M of them.
            objective: What scores them.
            numbers: The particle whose noise sampled replies are drawn with [P].
        """
        started = time.perf_counter()
        self.open_journal(examples, vectors, objective)
        evaluation = self.evaluator_of(objective).evaluate(vectors, examples, numbers=numbers, journal=self.journal)
        self.state.add(evaluation, time.perf_counter() - started)
        return evaluation

    def open_journal(self, examples: Sequence[Example], vectors: Vectors, objective: Objective) -> None:
        """Find what an earlier process has found of an evaluation, and keep what this one finds.

        Args:
            examples: What will be asked.
            vectors: Of whom.
            objective: What scores it.
        """
        if self.journal.keeps:
            swarm = self.particle_swarm
            iteration = int(swarm.swarm.iterations) if swarm.begun else None
            now = (self.state.seed, iteration, objective_state(objective))
            open_journal(self.journal, self.asked_of(objective).identity, now, examples, vectors, self.ranks)

    def asked_of(self, objective: Objective) -> Asked:
        """Return what the scores of a position depend on beside the position.

        Args:
            objective: What scores it.
        """
        identity = {**self.identity, "objective": settings_of(objective)}
        device = self.trainer.strategy.root_device.type
        return Asked(objective, identity, self.state.seed, self.settings.dtype, device)
