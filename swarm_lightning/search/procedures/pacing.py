"""How an evolution strategy that is given minutes ends near them: its steps ask more or fewer pairs, by the clock.

The clock runs from when the search was made, loading counted, and of a resumed search goes on from the seconds that its
earlier parts have searched. What is asked behind the last step is set aside by the speed at which the first positions
were asked; before every step, what is left is shared out among the steps to come by what the last one took. Where
nothing is left the search ends, and hands over the best of what it has.
"""

import time
from collections.abc import Callable

from swarm_lightning.search.state import SearchState
from swarm_lightning.swarm.centre_search import CHOSEN_AMONG, CentreSearch
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy


class Pacing:
    """The clock of one search, and what it says of the steps to come."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Start the clock.

        Args:
            now: Tells the time in seconds.
        """
        self._now = now
        self._made = now()
        self._last: float | None = None
        self._per_later: float | None = None

    def elapsed(self, before: float) -> float:
        """Return the seconds that the search has taken.

        Args:
            before: Those of its earlier parts.
        """
        return before + self._now() - self._made

    def budget(self, strategy: CentreSearch, state: SearchState, elapsed: float, later: int) -> int:
        """Return how many (model, example) pairs the whole search may ask, the choice in the end counted.

        Args:
            strategy: Begun with the utilities of the first positions.
            state: Of the search, which has asked nothing else.
            elapsed: Seconds that it has taken.
            later: Pairs that are asked by the objective behind the last step.
        """
        if strategy.seconds is None:
            return strategy.evaluations
        assert state.evaluation is not None
        first, others = state.evaluation.evaluated, state.evaluations - state.evaluation.evaluated
        per_pair = state.scoring_seconds / max(first, 1)
        self._per_later = (state.seconds - state.scoring_seconds) / others if others else per_pair
        left = strategy.seconds - elapsed - later * self._per_later
        if left <= 0:
            return state.evaluations
        held = state.evaluations + CHOSEN_AMONG * state.examples + int(left / max(per_pair, 1e-9))
        return min(strategy.evaluations, held)

    def pairs(self, strategy: EvolutionStrategy, state: SearchState, elapsed: float, later: int) -> int:
        """Return how many pairs the next step asks; the first one asks what the budget holds.

        Args:
            strategy: Before a step.
            state: Of the search.
            elapsed: Seconds that it has taken.
            later: Pairs that are asked by the objective behind the last step.
        """
        pairs = strategy.pairs
        if strategy.seconds is not None and self._last is not None:
            per_later = self._per_later if self._per_later is not None else state.seconds / max(state.evaluations, 1)
            left = strategy.seconds - elapsed - later * per_later
            done, settings = int(strategy.swarm.iterations), strategy.settings
            steps = settings.steps - done
            shown = 0 if state.shown is None or not state.shown.every else state.shown.every
            asked = CHOSEN_AMONG + ((settings.steps - 1) // shown - done // shown if shown else 0)
            held = strategy.evaluations - state.evaluations - asked * state.examples
            most = held // (2 * min(settings.batch, state.examples) * steps)
            pairs = min(most, pairs_held(left, (elapsed - self._last) / pairs, steps))
        self._last = elapsed
        return pairs


def asked_in_the_end(examples: int, test: int) -> int:
    """Return how many (model, example) pairs are asked by the objective behind the last step.

    They are the choice, and the test of the best expert, of what is found and of what it began with.

    Args:
        examples: Number of validation examples M.
        test: Number of test examples.

    >>> asked_in_the_end(200, 1000)
    4000
    """
    return CHOSEN_AMONG * examples + 3 * test


def pairs_held(seconds: float, per_pair: float, steps: int) -> int:
    """Return how many pairs of candidates each of so many steps can ask: one at least, and none where no time is left.

    Args:
        seconds: That are left.
        per_pair: Seconds that a pair takes.
        steps: That are to come.

    >>> pairs_held(60.0, 0.5, 4), pairs_held(0.2, 0.5, 4), pairs_held(0.0, 0.5, 4)
    (30, 1, 0)
    """
    return max(1, int(seconds / (steps * max(per_pair, 1e-9)))) if seconds > 0 else 0
