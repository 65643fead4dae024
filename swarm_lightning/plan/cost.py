"""What a search will cost, before it begins: from its settings, its data, and a few rows that were asked for real.

What it asks is in `work.py`, how fast rows are in `trial_rows.py`, what it takes of memory and disk in `sizes.py`. Here
they are put together.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from swarm_lightning.evaluation.lots import LEAST_PAIRS
from swarm_lightning.evaluation.power import Noise, examples_needed, noise_of, smallest_difference
from swarm_lightning.plan.likely import Span, span_of
from swarm_lightning.plan.trial_rows import Speed, TrialRows
from swarm_lightning.plan.work import Work

LOTS = 4  # see `evaluation/evaluator.py`
# Rounds of questions in an iteration with the exact stop, on the demo world: 2 to 7.
ROUNDS = 4.0
# Seconds of an iteration that go to records, the checkpoint of a small swarm, and Lightning itself.
BESIDE = 0.04


@dataclass(frozen=True)
class Bill:
    """What a paid service is asked.

    Attributes:
        calls: Different questions.
        most_calls: The same at most.
        tokens: Tokens of a question, counted by the base's tokenizer.
        answer: The most tokens of an answer; 0 where that is not set.
        price: What the calls cost, by the prices that were given; None where there are none.
        most_price: The same at most.
    """

    calls: float
    most_calls: float
    tokens: float
    answer: int
    price: float | None
    most_price: float | None


@dataclass(frozen=True)
class Needed:
    """How many validation examples tell a difference from noise.

    Attributes:
        difference: Which.
        paired: Examples that it takes where both models are asked the same ones, as in this search.
        unpaired: The same where each is asked its own.
        present: How many there are.
        told: The smallest difference that they tell, paired.
    """

    difference: float
    paired: int
    unpaired: int
    present: int
    told: float


@dataclass(frozen=True)
class Plan:
    """What a search will cost.

    Attributes:
        work: What is to be searched.
        iterations: Iterations.
        evaluations: (model, example) pairs, without those of the test split.
        most_evaluations: The same at most.
        read: Tokens that the model will read, likely and at most.
        generated: Tokens that it will generate, likely and at most.
        seconds: Of each part, likely, with the present number of ranks.
        search: Seconds of the search alone, as its summary tells them.
        total: Seconds of the whole command.
        most_seconds: The same at most.
        ranks: Seconds of the whole command by number of ranks.
        memory: Bytes by what holds them.
        free_memory: Bytes that are free now.
        disk: Bytes by what holds them, at most.
        free_disk: Bytes that are free now.
        bill: Of a paid service; None where nothing is paid.
        needed: How many examples tell a difference; None where that can't be measured.
        rows: Pairs that were asked for this plan.
        took: Seconds that it took.
    """

    work: Work
    iterations: Span
    evaluations: Span
    most_evaluations: float
    read: tuple[float, float]
    generated: tuple[float, float]
    seconds: dict[str, float]
    search: Span
    total: Span
    most_seconds: float
    ranks: dict[int, Span]
    memory: dict[str, int]
    free_memory: int
    disk: dict[str, int]
    free_disk: int
    bill: Bill | None
    needed: Needed | None
    rows: int
    took: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)


class Clock:
    """How long a search takes, with a number of ranks that are each as fast as the present one."""

    def __init__(self, work: Work, trial: TrialRows, step: float, loading: float, ranks: int = 1) -> None:
        """Take what it follows from.

        Args:
            work: What is to be searched.
            trial: How fast rows are.
            step: Seconds of an iteration beside its questions.
            loading: Seconds until the first question.
            ranks: Number of ranks.
        """
        self.work, self.trial, self.step, self.loading, self.ranks = work, trial, step, loading, ranks

    def asking(self, speed: Speed, pairs: float, rounds: float = 1.0) -> float:
        """Return the seconds of so many pairs, in so many rounds."""
        calls = rounds * (self.work.particles if self.trial.turns else 1)
        lots = max(LOTS, 1 << (self.ranks - 1).bit_length())
        # Small rounds are cut into fewer lots, and some ranks wait.
        lots = max(min(lots, int(pairs / max(rounds, 1) / min(self.trial.rows, LEAST_PAIRS))), 1)
        share = math.ceil(lots / self.ranks) / lots
        paid = 0.0
        if self.trial.paid is not None:
            different, _, seconds = self.trial.paid
            paid = pairs * different * seconds
        return (calls * speed.call + pairs * speed.pair + paid) * share

    @property
    def first(self) -> float:
        """Seconds of the first positions."""
        followed, besides = self.work.asked_first
        seconds = self.asking(self.trial.followed, followed)
        return seconds + (self.asking(self.trial.objective, besides) if besides else 0.0)

    def iterations(self, count: int, likely: bool = True) -> float:
        """Return the seconds of so many iterations."""
        rounds = ROUNDS if self.work.distance > 0 and not self.trial.turns else 1.0
        asked = [self.work.asked_in(iteration, likely) for iteration in range(1, count + 1)]
        return sum(self.asking(self.trial.step, pairs, rounds) + self.step for pairs in asked)

    @property
    def last(self) -> float:
        """Seconds of the choice in the end."""
        return self.asking(self.trial.objective, self.work.last) if self.work.last else 0.0

    def search(self, count: int, likely: bool = True) -> float:
        """Return the seconds of a search of so many iterations, as its summary tells them."""
        return self.first + self.iterations(count, likely) + self.last

    @property
    def testing(self) -> float:
        """Seconds of what is asked when the search has ended."""
        return self.asking(self.trial.whole, self.work.tests)

    def total(self, count: int, likely: bool = True) -> float:
        """Return the seconds of the whole command."""
        beside = self.loading + self.trial.prepared + BESIDE * count
        return beside + self.search(count, likely) + self.testing


def bill_of(
    work: Work, trial: TrialRows, count: int, answer: int | None, prices: tuple[float, float] | None
) -> Bill | None:
    """Say what a paid service is asked; None where nothing is paid.

    Args:
        work: What is to be searched.
        trial: With what a few pairs were scored at.
        count: Iterations, likely.
        answer: The most tokens of an answer.
        prices: Of a million tokens of questions, and of answers; None where they are not known.
    """
    if trial.paid is None:
        return None
    different, tokens, _ = trial.paid
    # Whole replies to the test split are rated too; the ratings of the same reply are kept.
    calls = different * work.evaluations(count) + work.tests
    most = work.evaluations(work.most, likely=False) + work.tests
    cost: list[float | None] = [None, None]
    if prices is not None:
        each = (tokens * prices[0] + (answer or 0) * prices[1]) / 1e6
        cost = [calls * each, most * each]
    return Bill(calls, most, tokens, answer or 0, *cost)


def needed_of(scores: Tensor, difference: float, examples: int) -> Needed | None:
    """Say how many examples tell a difference from noise; None where the trial does not show the noise.

    Args:
        scores: Of the trial [P, m].
        difference: Which is to be told.
        examples: How many there are.
    """
    finite = scores[scores.isfinite().all(dim=1)]
    if len(finite) < 2 or finite.shape[1] < 2:
        return None
    noise: Noise = noise_of(finite)
    if noise.unpaired == 0:  # all replies to the few examples that were asked score the same
        return None
    return Needed(
        difference,
        examples_needed(difference, noise.paired),
        examples_needed(difference, noise.unpaired),
        examples,
        smallest_difference(examples, noise.paired),
    )


def tokens_of(work: Work, trial: TrialRows, longest_reply: int | None, count: int) -> list[tuple[float, float]]:
    """Return the tokens that the model reads and generates, each likely and at most.

    Args:
        work: What is to be searched.
        trial: How many tokens a pair has taken.
        longest_reply: Tokens of a reply at most; None where that is not known.
        count: Iterations, likely.
    """
    speed, most = trial.followed, work.evaluations(work.most, likely=False)
    longer = max((longest_reply or 0) - speed.generated, 0.0) if speed.generated else 0.0
    likely = work.evaluations(count)
    return [
        (likely * speed.read, most * (speed.read + longer)),
        (likely * speed.generated, most * (speed.generated + longer)),
    ]


def plan_of(
    work: Work,
    trial: TrialRows,
    step: float,
    loading: float,
    ranks: Sequence[int],
    longest_reply: int | None,
    answer: int | None,
    prices: tuple[float, float] | None,
    difference: float,
    sizes: tuple[dict[str, int], int, dict[str, int], int],
) -> Plan:
    """Put everything together.

    Args:
        work: What is to be searched.
        trial: How fast rows are.
        step: Seconds of an iteration beside its questions.
        loading: Seconds until the first question.
        ranks: Numbers of ranks, the present one first.
        longest_reply: Tokens of a reply at most.
        answer: The most tokens of an answer of a paid service.
        prices: Its prices.
        difference: That the validation examples are to tell from noise.
        sizes: Memory, free memory, disk, free disk.
    """
    iterations = span_of(work.chances)
    counts = (int(iterations.low), int(iterations.likely), int(iterations.high))
    clocks = {count: Clock(work, trial, step, loading, count) for count in ranks}
    clock = clocks[ranks[0]]
    read, generated = tokens_of(work, trial, longest_reply, counts[1])
    seconds = {
        "loading": loading + trial.prepared,
        "first positions": clock.first,
        "iterations": clock.iterations(counts[1]) + BESIDE * counts[1],
        "choice": clock.last,
        "test": clock.testing,
    }
    return Plan(
        work, iterations, Span(*(work.evaluations(count) for count in counts)),
        work.evaluations(work.most, likely=False), read, generated, seconds,
        Span(*(clock.search(count) for count in counts)), Span(*(clock.total(count) for count in counts)),
        clock.total(work.most, likely=False),
        {count: Span(*(one.total(each) for each in counts)) for count, one in clocks.items()},
        *sizes, bill_of(work, trial, counts[1], answer, prices),
        needed_of(trial.reported, difference, work.examples), trial.pairs, trial.seconds,
    )  # fmt: skip
