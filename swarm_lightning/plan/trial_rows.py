"""Asks a few rows for real, to learn how long all of them will take.

The rows go the way of a search: its first positions, its guide, its lots and batches, on examples that stand for all of
them in length. What a round of questions costs beside its rows is told apart by rounds of two sizes. The first call is
thrown away: it warms up.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.lots import LEAST_PAIRS
from swarm_lightning.evaluation.progress import Metered
from swarm_lightning.objectives.protocol import HasTasks, Objective, PaysForScores
from swarm_lightning.objectives.utility import pays, unpaid
from swarm_lightning.search.asking import AskingSearch
from swarm_lightning.search.objective import prepare_objective
from swarm_lightning.swarm import evolution
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy
from swarm_lightning.swarm.space import Space

REPEATS = 3  # of a small round: what a round costs beside its rows is a small difference
PAID_PAIRS = 16  # that are scored at a price; their answers are kept, and the search finds them


@dataclass(frozen=True)
class Speed:
    """What rows have taken.

    Attributes:
        call: Seconds of a round beside its rows; where candidates take turns, of each of them.
        pair: Seconds of a (candidate, example) pair.
        read: Tokens that the model has read for a pair.
        generated: Tokens that it has generated for a pair.
    """

    call: float
    pair: float
    read: float
    generated: float


@dataclass(frozen=True)
class TrialRows:
    """What a few rows tell of all.

    Attributes:
        followed: The speed of what the search follows, replies ending early where they may.
        whole: That of the objective on one or two candidates, replies going on to their end.
        objective: That of the objective on all candidates; the same as `followed` where it is followed.
        step: That of what an iteration asks: of an evolution strategy, many candidates a few examples each; else the
            same as `followed`.
        turns: Whether candidates take turns in the model.
        rows: Rows of a forward pass.
        longest: Tokens of the longest prompt.
        scores: What came out by what is followed [P, m].
        utilities: The same [P].
        reported: Scores by the objective [P, m], where that can be asked for nothing; else `scores`.
        paid: Different questions to a paid service for each pair, tokens of a question, and seconds of a call; None
            where nothing is paid.
        prepared: Seconds that the objective took to measure the base.
        pairs: Pairs that were asked in all.
        seconds: What the trial took.
    """

    followed: Speed
    whole: Speed
    objective: Speed
    step: Speed
    turns: bool
    rows: int
    longest: int
    scores: Tensor
    utilities: Tensor
    reported: Tensor
    paid: tuple[float, float, float] | None
    prepared: float
    pairs: int
    seconds: float


def spread_sample(examples: Sequence[Example], lengths: Sequence[int], count: int) -> list[Example]:
    """Choose examples that stand for all in the length of their prompts, of every task its share.

    Args:
        examples: M of them.
        lengths: Length of every example's prompt.
        count: How many to choose, >= 1.

    The middle one of each of as many equal parts, in the order of their lengths:

    >>> examples = [Example(question) for question in "abcdef"]
    >>> [example.question for example in spread_sample(examples, [6, 1, 5, 2, 4, 3], 2)]
    ['d', 'c']
    """
    if count >= len(examples):
        return list(examples)
    tasks = [example.task for example in examples]
    order = sorted(range(len(examples)), key=lambda place: (tasks[place], lengths[place]))
    step = len(order) / count
    return [examples[order[int((place + 0.5) * step - 1e-9)]] for place in range(count)]


def try_rows(search: AskingSearch, space: Space, examples: Sequence[Example], seconds: float) -> TrialRows:
    """Ask a few rows of a search that `rehearse` has loaded.

    Args:
        search: Which.
        space: Of its positions.
        examples: What will guide it, M of them.
        seconds: What the rows may take, about, beside the first one.

    Raises:
        InputError: If something can't be asked.
    """
    started = time.perf_counter()
    prepare_objective(search.objective, search.evaluator, search.ranks, examples)
    prepared = time.perf_counter() - started
    evaluator = search.evaluator_of(search.guide)
    trial = _Trial(evaluator, _first_candidates(search, space), examples, seconds)
    followed, evaluation = trial.run()
    step = followed
    if isinstance(search.movement, EvolutionStrategy):
        step = trial.step(search.movement, space, _first_positions(search, space, len(search.pool.names)), followed)
    paid = None
    if pays(search.objective):
        paid = trial.paid(search.evaluator)
    by_objective, reported = followed, evaluation
    if search.guide is not search.objective and not pays(search.objective):
        by_objective, reported = _Trial(search.evaluator, trial.candidates, examples, seconds / 2).run()
    whole = trial.whole(search.evaluator)
    return TrialRows(
        followed, whole, by_objective, step, trial.turns, evaluator.runner.rows_at_once(max(trial.lengths)),
        max(trial.lengths), evaluation.scores, evaluation.utilities, reported.scores, paid, prepared, trial.asked,
        time.perf_counter() - started,
    )  # fmt: skip


def _first_candidates(search: AskingSearch, space: Space) -> Any:
    """Return what the search would ask first; experts alone where positions are to be written to the disk."""
    settings, experts = search.settings, len(search.pool.names)
    if space.writes:
        return [space.expert(place) for place in range(experts)]
    count = settings.particles if search.movement.moves_particles else experts
    return space.vectors(_first_positions(search, space, count))


def _first_positions(search: AskingSearch, space: Space, count: int) -> Tensor:
    """Return where the first so many particles begin [N, D]."""
    generator = torch.Generator().manual_seed(torch.initial_seed())
    return space.first_positions(search.settings.start, count, search.settings.child_span, generator)


class _Trial:
    """Rounds of questions of growing size."""

    def __init__(self, evaluator: Evaluator, candidates: Any, examples: Sequence[Example], seconds: float) -> None:
        self.evaluator, self.candidates, self.examples, self.seconds = evaluator, candidates, examples, seconds
        self.turns = evaluator.runner.at_once == 1
        self.lengths = evaluator.prompt_lengths(examples)
        self.asked = self._last_read = 0
        self.free = _unpaid(evaluator)

    def run(self) -> tuple[Speed, Evaluation]:
        """Ask a round of one example, one of the size of a late round, and one as large as there is time for."""
        pilot = min(2, len(self.candidates))
        self._ask(pilot, 1)
        seconds, first = self._ask(pilot, 1)
        per_pair = seconds / max(first.evaluated, 1)
        fitting = max(int(self.seconds / 4 / per_pair), pilot)
        count = pilot if self.turns else min(len(self.candidates), fitting)
        late = math.ceil(2 * LEAST_PAIRS / len(self.candidates))
        small = min(max(2, min(fitting // count, late)), len(self.examples))  # two show how scores vary
        self._ask(count, 1)  # another number of candidates is another layout
        shorts = [self._ask(count, small)]
        while len(shorts) < REPEATS and sum(seconds for seconds, _ in shorts) < self.seconds / 8:
            shorts.append(self._ask(count, small))
        short, few = median(seconds for seconds, _ in shorts), shorts[-1][1]
        per_pair = min(per_pair, short / max(few.evaluated, 1))
        large = max(1, min(int(self.seconds / 2 / per_pair) // count, len(self.examples)))
        if large <= small:
            return self._speed(0.0, short, few), few
        before = self._read
        long, many = self._ask(count, large)
        calls = count if self.turns else 1
        more = many.evaluated - few.evaluated
        pair = max((long - short) / more, 0.0) if more > 0 else long / many.evaluated
        call = max(short - pair * few.evaluated, 0.0) / calls
        if pair == 0.0:  # noise: the large round has taken no longer than the small one
            call, pair = 0.0, long / many.evaluated
        return Speed(call, pair, (self._read - before) / many.evaluated, many.generated / many.evaluated), many

    def step(self, strategy: EvolutionStrategy, space: Space, positions: Tensor, followed: Speed) -> Speed:
        """Ask what a step of an evolution strategy asks, or as many pairs of candidates as there is time for."""
        settings, generator = strategy.settings, torch.Generator().manual_seed(torch.initial_seed())
        batch = min(settings.batch, len(self.examples))
        held = settings.pairs_held(strategy.evaluations, len(self.examples))
        fitting = int(self.seconds / 4 / (2 * batch * max(followed.pair, 1e-9)))
        centre = evolution.begin(positions.mean(dim=0), len(self.examples), generator)
        for count in (1, max(1, min(held, fitting))):  # the first one warms up
            centre, pairs = evolution.ask(centre, settings, count, generator)
            vectors, before = space.vectors(pairs.candidates), self._read
            started = time.perf_counter()
            found = self.free.evaluate(vectors, self.examples, wanted=pairs.wanted)
            seconds = time.perf_counter() - started
            self._last_read = self._read - before
            self.asked += found.evaluated
        return self._speed(0.0, seconds, found)

    def whole(self, evaluator: Evaluator) -> Speed:
        """Ask one or two candidates as when the search has ended: replies go on to their end."""
        evaluator, count = _unpaid(evaluator), min(2, len(self.candidates))
        seconds, first = self._ask(count, 1, evaluator, whole=True)
        size = max(1, min(int(self.seconds / 4 / max(seconds, 1e-6)), 64, len(self.examples)))
        seconds, found = self._ask(count, size, evaluator, whole=True)
        return self._speed(0.0, seconds, found)

    def paid(self, evaluator: Evaluator) -> tuple[float, float, float]:
        """Score a few pairs at their price; see `TrialRows.paid`."""
        count = min(4, len(self.candidates))
        chosen = spread_sample(self.examples, self.lengths, min(PAID_PAIRS // count, len(self.examples)))
        free = _unpaid(evaluator)
        free.evaluate(self.candidates[:count], chosen)
        started = time.perf_counter()
        free.evaluate(self.candidates[:count], chosen)
        between = time.perf_counter()
        found = evaluator.evaluate(self.candidates[:count], chosen, whole_replies=True)
        scoring = max(time.perf_counter() - between - (between - started), 0.0)
        questions = []
        for outcomes in found.outcomes:
            for example, outcome in zip(chosen, outcomes, strict=True):
                part = _part_of(evaluator.objective, example)
                if outcome is not None and isinstance(part, PaysForScores):
                    questions += part.questions([example], [outcome.reply])
        self.asked += found.evaluated
        different = list(dict.fromkeys(questions))
        tokens = sum(evaluator.runner.lengths(different)) / max(len(different), 1)
        return len(different) / max(found.evaluated, 1), tokens, scoring / max(len(different), 1)

    def _speed(self, call: float, seconds: float, found: Evaluation) -> Speed:
        pairs = max(found.evaluated, 1)
        return Speed(call, seconds / pairs, self._last_read / pairs, found.generated / pairs)

    def _ask(
        self, count: int, size: int, evaluator: Evaluator | None = None, whole: bool = False
    ) -> tuple[float, Evaluation]:
        evaluator = evaluator or self.free
        chosen = spread_sample(self.examples, self.lengths, size)
        before = self._read
        started = time.perf_counter()
        found = evaluator.evaluate(self.candidates[:count], chosen, whole_replies=whole)
        seconds = time.perf_counter() - started
        self._last_read = self._read - before
        self.asked += found.evaluated
        return seconds, found

    @property
    def _read(self) -> int:
        runner = self.evaluator.runner
        return runner.meter.tokens if isinstance(runner, Metered) else 0


def _unpaid(evaluator: Evaluator) -> Evaluator:
    """Return what asks the same and pays for nothing."""
    free = unpaid(evaluator.objective)
    return evaluator if free is evaluator.objective else evaluator.asking(free)


def _part_of(objective: Objective, example: Example) -> Objective:
    return objective.tasks[example.task] if isinstance(objective, HasTasks) else objective
