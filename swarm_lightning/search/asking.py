"""A search that can ask: by its objective or by its guide, as particles do or beside them, and each thing only once.

What the running iteration has found is kept in a journal until a checkpoint holds it. Of broken particles it warns, and
`swarm/broken.py` says how they go on. What is asked when, and what follows, is in `model_swarm.py`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.counts import less
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.kept_scores import KeptScores, marks_of
from swarm_lightning.evaluation.ranks import Ranks, digest
from swarm_lightning.evaluation.refitting import Refit, refit_experts
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.experts.products.refit import FOLDS, ROUNDS
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.search.guide import name_shown, show
from swarm_lightning.search.objective import objective_state
from swarm_lightning.search.parts import Asked
from swarm_lightning.search.prepared import PreparedSearch
from swarm_lightning.search.settings import SearchSettings, settings_of
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.vectors import Vectors

RESULTS = "results"  # among the checkpoints, while the result is asked for
MEND = (
    "Half precision overflows first: try model.dtype float32. If the objective gives scores that are NaN or infinite, "
    "let it give the lowest score there; if the swarm flies apart, lower model.optimizer.lr."
)


class AskingSearch(PreparedSearch):
    """A prepared search with a journal.

    Attributes:
        journal: Where the scores of the running iteration are kept until a checkpoint holds them; nowhere by default.
    """

    def __init__(self, settings: SearchSettings, objective: Objective | None) -> None:
        """Take the settings; see `PreparedSearch`."""
        super().__init__(settings, objective)
        self.journal = ScoreJournal()
        self._results: Path | None = None
        self._kept: KeptScores | None = None

    def keep_running_scores(self, folder: Path) -> None:
        """Keep the scores of the running iteration in a folder until a checkpoint holds them, and those of results."""
        self.journal = ScoreJournal(folder)
        self._results = folder / RESULTS

    @contextmanager
    def results_kept(self) -> Iterator[None]:
        """Keep what is asked for the length of a `with` block, once the search has ended, until `forget_results`."""
        if self._results is None:
            yield
            return
        self._kept = KeptScores(self._results, (self.identity, self.state.seed, int(self.swarm.iterations)))
        self.evaluator.keep(self._kept)
        try:
            yield
        finally:
            self.evaluator.keep(None)

    def forget_results(self) -> None:
        """Forget what was kept of the results: they are written down; all ranks call it."""
        if self._kept is not None:
            self._kept.clear(self.ranks)
            self._kept = None

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

    def ask_candidates(self, examples: Sequence[Example], stakes: Stakes | None) -> Evaluation:
        """Ask the candidates that are due what has to be found out about them.

        Args:
            examples: What to ask, M of them.
            stakes: What is known of the particles, where the exact stop may leave something unasked.
        """
        swarm = self.particle_swarm
        if not swarm.begun:
            return self.first_scores(examples, self.followed)
        asked = swarm.asked
        self.open_journal(examples, asked, self.followed)
        return self.evaluator_of(self.followed).evaluate(
            asked, examples, swarm.due, stakes, numbers=swarm.numbers, journal=self.journal, wanted=swarm.wanted
        )

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
        self,
        vectors: Vectors,
        examples: Sequence[Example],
        objective: Objective,
        numbers: Sequence[int],
        wanted: Tensor | None = None,
    ) -> Evaluation:
        """Ask what stands behind positions everything, and count it.

        Args:
            vectors: What the space makes of positions, P of them.
            examples: What to ask, M of them.
            objective: What scores them.
            numbers: The particle whose noise sampled replies are drawn with [P].
            wanted: Which examples to ask which of them [P, M] bool; all where not given.
        """
        started = time.perf_counter()
        self.open_journal(examples, vectors, objective)
        evaluation = self.evaluator_of(objective).evaluate(
            vectors, examples, numbers=numbers, journal=self.journal, wanted=wanted
        )
        self.state.add(evaluation, time.perf_counter() - started)
        return evaluation

    def refit(self, weights: Tensor, examples: Sequence[Example], fit: int) -> Refit:
        """Fit the experts anew by the scores of the first positions, and count what is read and asked for it.

        Args:
            weights: How much of every expert is in the sum that is fitted [n].
            examples: What is read, M of them.
            fit: The number of this fit, from 1.
        """
        state, weighed = self.state, self._parts.refitting
        assert weighed is not None
        assert state.evaluation is not None
        scores, followed = state.evaluation.scores[: len(weights)], self.followed

        def ask(fold: int, coefficients: Tensor, asked: Tensor) -> Tensor:
            state.fit = fit * (FOLDS + 1) + fold + 1  # each has other experts behind the same coefficients
            return self.ask_vectors(coefficients[None], examples, followed, [0], asked[None]).scores[0]

        rank_zero_info(
            f"Fitting the A matrices of {int((weights > 0).sum())} experts anew: the {len(examples)} examples are read "
            f"{ROUNDS} times, and fits without a part of them are asked this part."
        )
        started, before = time.perf_counter(), state.seconds
        found = refit_experts(self.evaluator_of(followed), weighed, scores, weights, examples, ask)
        state.fit = fit * (FOLDS + 1)
        state.count_read(found.pairs, found.passes, time.perf_counter() - started - (state.seconds - before))
        return found

    def keep_fit(self, fit: int, downs: Sequence[Tensor]) -> None:
        """Go on with one of the fits of the experts.

        Args:
            fit: Which one, from 1.
            downs: Its A matrices, layer by layer [n r, in].
        """
        self.state.fit = fit * (FOLDS + 1)
        self._parts.put_second(downs)

    def note_objective(self, examples: Sequence[Example]) -> None:
        """Note what the objective says of what the guide finds best so far, and what it was asked for that.

        Args:
            examples: What to ask, M of them.
        """
        state, metrics = self.state, self.state.metrics
        if state.shown is None:
            return
        before = state.evaluations, state.generated_tokens, state.forward_passes
        metrics[name_shown(self.particle_swarm)] = show(
            state.shown, self.particle_swarm, state.reported, state.choices,
            lambda positions, numbers: self.ask_in_full(positions, examples, self.objective, numbers),
        )  # fmt: skip
        metrics["evaluations"] += state.evaluations - before[0]
        metrics["generated_tokens"] += state.generated_tokens - before[1]
        new = less(state.forward_passes, before[2])
        if new is not None:
            metrics["forward_passes"] += new

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
        if self.state.fit:
            identity["fit"] = self.state.fit
        device = self.trainer.strategy.root_device.type
        return Asked(objective, identity, self.state.seed, self.settings.dtype, device)


def open_journal(
    journal: ScoreJournal,
    identity: Mapping[str, Any],
    state: tuple[int | None, int | None, Mapping[str, Any]],
    examples: Sequence[Example],
    positions: Vectors,
    ranks: Ranks,
) -> None:
    """Open a journal for the evaluation of the present positions.

    A search that goes on from a checkpoint makes the same positions again, so it finds the scores that an earlier
    process had found for them; any other base, dataset, objective, seed or position gets another key, and none of them.

    Args:
        journal: One that keeps scores.
        identity: What makes the search this one.
        state: Its seed, the iterations done (None before the first positions are scored), and what its objective keeps.
        examples: What will be asked.
        positions: Of whom.
        ranks: The processes that share the work.
    """
    asked = [(example.identifier, example.question, example.answer) for example in examples]
    journal.begin(digest(dict(identity), state, asked, marks_of(positions)), ranks)


def report_broken(optimizer: SearchOptimizer, evaluation: Evaluation, examples: Sequence[Example]) -> Tensor:
    """Warn of every candidate that has broken.

    Args:
        optimizer: In the middle of an iteration.
        evaluation: Of its candidates.
        examples: What was asked.

    Returns:
        Which candidates are broken [P] bool.

    Raises:
        InputError: If all are.
    """
    iteration = int(optimizer.swarm.iterations) + 1 if optimizer.begun else 0
    when = f"in iteration {iteration}" if iteration else "before the first move"
    kind, lost = optimizer.kind, optimizer.lost
    broken = lost | (evaluation.utilities == -torch.inf)
    reasons = {
        particle: "its weights are not finite" if lost[particle] else _of_outputs(evaluation, particle, examples)
        for particle in broken.nonzero().flatten().tolist()
    }
    if broken.all():
        raise InputError(
            f"Expected at least one {kind} with a finite utility, but all {len(broken)} are broken {when}: "
            f"{reasons[0]} ({kind} 0). {MEND} Earlier results are kept: `swarm export --ckpt_path last` writes them."
        )
    for particle, reason in reasons.items():
        rank_zero_warn(
            f"{kind.capitalize()} {particle} is broken {when}: {reason}. {optimizer.after_breaking}",
            category=UserWarning,
        )
    return broken


def _of_outputs(evaluation: Evaluation, particle: int, examples: Sequence[Example]) -> str:
    places = (evaluation.scores[particle] == -torch.inf).nonzero().flatten().tolist()
    named = ", ".join(repr(examples[place].identifier) for place in places[:3])
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return (
        f"what the model computes, or the score that the objective gives, is NaN or infinite for example {named}{more}"
    )
