"""Forecasts how long a search will take, once its first positions are scored and in every iteration.

The time of the first positions is known by then, so this costs nothing. `plan/likely.py` estimates the number of
iterations and what the exact stop skips; `swarm plan` gives a fuller forecast before a search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from swarm_lightning.callbacks.patience import patience_of
from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.utility import bounds_of
from swarm_lightning.plan.likely import Span, ends, graded, span_of
from swarm_lightning.plan.work import Work, best_to_come, work_of
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.swarm.centre_search import SIMPLE, CentreSearch
from swarm_lightning.swarm.optimizer import ParticleSwarm


@dataclass(frozen=True)
class Rest:
    """What is left of a search.

    Attributes:
        iterations: In all, those included that are done.
        most: Iterations at most.
        evaluations: In all.
        seconds: From now on.
        most_seconds: The same at most.
    """

    iterations: Span
    most: int
    evaluations: Span
    seconds: Span
    most_seconds: float


# What was said of every search at last, and when in it.
_LATEST: "WeakKeyDictionary[ModelSwarm, tuple[tuple[float, ...], Rest]]" = WeakKeyDictionary()


def rest_of(trainer: L.Trainer, search: ModelSwarm) -> Rest | None:
    """Say what is left of a search whose first positions are scored; None where nothing limits it.

    Args:
        trainer: Of the search.
        search: Begun.
    """
    optimizer, state = search.particle_swarm, search.state
    most = trainer.max_steps
    if (most <= 0 and optimizer.most_steps is None) or search.splits is None or not state.evaluations:
        return None
    # The bar and the record ask alike in every iteration, which may take a few milliseconds in all.
    when = int(search.swarm.iterations), state.evaluations, state.seconds, most
    known = _LATEST.get(search)
    if known is None or known[0] != when:
        known = _LATEST[search] = when, _rest(trainer, search, search.splits.validation)
    return known[1]


def _rest(trainer: L.Trainer, search: ModelSwarm, examples: Sequence[Example]) -> Rest:
    optimizer, state = search.particle_swarm, search.state
    per_pair = state.seconds / state.evaluations
    work = _work(trainer, search, examples, 1 / per_pair)
    done, plateau = int(search.swarm.iterations), int(search.swarm.plateau) if optimizer.moves_particles else 1
    iterations = span_of(ends(work.most, work.patience, work.particles, done, plateau, work.rises))

    def pairs(count: float, likely: bool = True) -> float:
        if isinstance(optimizer, CentreSearch):  # which knows: what came before its steps varies
            every = 0 if state.shown is None else state.shown.every
            shown = (int(count) - 1) // every - done // every if every and count > done else 0
            if not work.most:  # the choice alone is still to be asked
                return min(len(SIMPLE) * work.examples, max(optimizer.evaluations - state.evaluations, 0))
            return work.last + (count - done) * optimizer.asked_by_step + shown * work.examples
        return work.last + sum(work.asked_in(iteration, likely) for iteration in range(done + 1, int(count) + 1))

    left = [pairs(count) for count in (iterations.low, iterations.likely, iterations.high)]
    return Rest(
        iterations, work.most, Span(*(state.evaluations + count for count in left)),
        Span(*(count * per_pair for count in left)), pairs(work.most, likely=False) * per_pair,
    )  # fmt: skip


def _work(trainer: L.Trainer, search: ModelSwarm, examples: Sequence[Example], per_second: float) -> Work:
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    patience = patience_of(callbacks)
    optimizer, distance = search.particle_swarm, 0.0
    if isinstance(optimizer, ParticleSwarm) and search.settings.engine.exact_stop:
        bounds = bounds_of(search.followed, examples)
        lowest, highest = min(low for low, _ in bounds), max(high for _, high in bounds)
        if -float("inf") < lowest < highest < float("inf"):
            best = (float(search.swarm.global_best_utility) - lowest) / (highest - lowest)
            worst = (float(search.swarm.global_worst_utility) - lowest) / (highest - lowest)
            distance = best_to_come(best) - (max(worst, 0.0) if optimizer.settings.repel > 0 else 0.0)
    return work_of(
        optimizer, search.settings.particles, len(search.pool.names), len(examples), trainer.max_steps,
        patience if optimizer.moves_particles else None, distance, search.chunk, search.state.guided, 0, per_second,
        0 if search.state.shown is None else search.state.shown.every, graded(search.state.scores.known),
    )  # fmt: skip


class Forecast(L.Callback):
    """Prints one line with the likely duration of a search, before its first iteration."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, _: int) -> None:
        """Say it once the first positions are scored; a resumed search is under way."""
        assert isinstance(pl_module, ModelSwarm)
        if int(pl_module.swarm.iterations) > 0:
            return
        rest = rest_of(trainer, pl_module)
        if rest is not None:
            rank_zero_info(sentence_on(rest))


def sentence_on(rest: Rest) -> str:
    """Return a forecast in words.

    Args:
        rest: What is left.

    >>> span = Span(11, 15, 21)
    >>> sentence_on(Rest(span, 50, span.times(2000), span.times(3), 160))
    'Likely 15 iterations (11 to 21, 50 at most), 30,000 evaluations in all, 0:45 to go (0:33 to 1:03, 2:40 at most).'
    """
    iterations, seconds = rest.iterations, rest.seconds
    low, high, most = duration(seconds.low), duration(seconds.high), duration(rest.most_seconds)
    if iterations.low == iterations.high:
        return (
            f"{iterations.likely:.0f} iterations, likely {rest.evaluations.likely:,.0f} evaluations in all, "
            f"{duration(seconds.likely)} to go ({most} at most)."
        )
    return (
        f"Likely {iterations.likely:.0f} iterations ({iterations.low:.0f} to {iterations.high:.0f}, {rest.most} at "
        f"most), {rest.evaluations.likely:,.0f} evaluations in all, {duration(seconds.likely)} to go ({low} to "
        f"{high}, {most} at most)."
    )


def duration(seconds: float) -> str:
    """Write a duration.

    >>> duration(59.6), duration(3725.0)
    ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
