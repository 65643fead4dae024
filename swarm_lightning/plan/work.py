"""How much a search has to ask: from its settings, and from how far apart its first positions are.

How long it goes on and what the exact stop leaves out is in `likely.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.plan.likely import GRADED, RIGHT_OR_WRONG, Rises, ends, left_out
from swarm_lightning.search.guide import FEW
from swarm_lightning.swarm.centre_search import CHOSEN_AMONG, CentreSearch
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer

RISE = 0.25  # of what is missing to the highest score, how much the global best gains, on the demo world


@dataclass(frozen=True)
class Work:
    """What is to be searched, as far as its cost depends on it.

    Attributes:
        particles: Number of particles N; of an evolution strategy, the experts, which are asked first.
        examples: Number of validation examples M.
        most: Iterations at most.
        patience: See `StopOnPlateau`; None for none.
        due: Share of the particles that an iteration asks, with drop-K and drop-N.
        distance: From the global worst to the best that comes, as a share of the scores' span; 0 without exact stop.
        chunk: Examples that the exact stop asks of a particle at a time.
        budget: (model, example) pairs of an evolution strategy; None for a swarm.
        guided: Whether a guide is followed, so that the objective is asked at both ends too.
        tests: (model, example) pairs that are asked when the search has ended.
        shown_every: Iterations from one time that the objective is asked about the best by the guide to the next, at
            most; 0 for none.
        graded: Whether scores have many values; see `likely.py`.
        soups: Sums of the experts that are asked everything before the first move, to find their greedy soup.
    """

    particles: int
    examples: int
    most: int
    patience: int | None
    due: float = 1.0
    distance: float = 0.0
    chunk: int = 1
    budget: int | None = None
    guided: bool = False
    tests: int = 0
    shown_every: int = 0
    graded: bool = False
    soups: int = 0

    def asked_in(self, iteration: int, likely: bool = True) -> float:
        """Return the pairs of an iteration, likely ones or at most."""
        if self.budget is not None:
            return max(self.budget - self.first - self.last, 0) / self.most
        whole = self.particles * self.examples
        shown = self.examples / self.shown_every if self.shown_every else 0.0
        if not likely:
            return whole + shown
        left = min(left_out(iteration, self.distance), max(1 - self.chunk / self.examples, 0.0))
        return whole * self.due * (1 - left) + shown

    @property
    def first(self) -> int:
        """Pairs that are asked before the first move."""
        return sum(self.asked_first)

    @property
    def asked_first(self) -> tuple[int, int]:
        """How many of these are asked by what is followed, and how many by the objective beside it."""
        checked = self.guided and self.budget is None
        besides = self.particles + min(self.soups, 1) if checked else 0
        return (self.particles + self.soups) * self.examples, besides * self.examples

    @property
    def last(self) -> int:
        """Pairs that are asked to choose what is found; of a budget that holds no step, what is left of it."""
        if self.budget is not None:
            return min(CHOSEN_AMONG * self.examples, max(self.budget - self.first, 0))
        return FEW * self.examples if self.guided else 0

    def evaluations(self, iterations: int, likely: bool = True) -> float:
        """Return the pairs of a search of so many iterations."""
        moved = sum(self.asked_in(iteration, likely) for iteration in range(1, iterations + 1))
        return self.first + moved + self.last

    @property
    def rises(self) -> Rises:
        """How the chance falls that the global best rises."""
        return GRADED if self.graded else RIGHT_OR_WRONG

    @property
    def chances(self) -> dict[int, float]:
        """How likely it ends after each number of iterations."""
        patience = None if self.budget is not None else self.patience
        return ends(self.most, patience, self.particles, rises=self.rises)


def work_of(
    optimizer: SearchOptimizer,
    particles: int,
    experts: int,
    examples: int,
    most: int,
    patience: int | None,
    distance: float,
    chunk: int,
    guided: bool,
    tests: int,
    per_second: float,
    shown_every: int = 0,
    graded: bool = False,
    soup: bool = False,
) -> Work:
    """Say what is to be searched.

    Args:
        optimizer: What moves the particles.
        particles: As they are set.
        experts: Number of experts n.
        examples: Number of validation examples M.
        most: Iterations at most, by the trainer.
        patience: Of `StopOnPlateau`.
        distance: See `Work`.
        chunk: See `Work`.
        guided: Whether a guide is followed.
        tests: Pairs that are asked when the search has ended.
        per_second: Pairs that are asked in a second.
        shown_every: See `Work`.
        graded: See `Work`.
        soup: Whether the greedy soup of the experts is among the first positions.

    Raises:
        InputError: If nothing limits the iterations.
    """
    if isinstance(optimizer, CentreSearch):
        budget, steps = optimizer.budget(per_second), optimizer.most_steps
        if steps is None:  # as many as it holds beside the first positions and the choice in the end
            steps = max(1, optimizer.steps_held(budget - (experts + CHOSEN_AMONG) * examples, examples))
        steps = steps if most <= 0 else min(most, steps)
        return Work(experts, examples, steps, None, 1.0, 0.0, 1, budget, guided, tests)
    if most <= 0:
        raise InputError(
            f"Expected trainer.max_steps to say how many iterations a search does at most, but it is {most}: an "
            "endless search can't be planned. Set it."
        )
    due = 1.0
    if isinstance(optimizer, ParticleSwarm):
        due = (1 - optimizer.settings.drop_iteration) * (1 - optimizer.settings.drop_particle)
    soups = experts - 1 if soup else 0
    return Work(
        particles, examples, most, patience, due, distance, chunk, None, guided, tests, shown_every, graded, soups
    )


def distance_of(utilities: Tensor, scores: Tensor, bounds: tuple[float, float], examples: int, repels: bool) -> float:
    """Guess how far apart the global worst and the best that comes will lie, as a share of the scores' span.

    Utilities on a part of the examples lie further apart than those on all: the noise is taken off.

    Args:
        utilities: Of the trial [P].
        scores: Of the trial [P, m].
        bounds: The lowest and the highest score.
        examples: Number of validation examples M.
        repels: Whether the search uses the global worst; else nothing has to lie above it.
    """
    lowest, highest = bounds
    if not (math.isfinite(lowest) and math.isfinite(highest) and highest > lowest):
        return 0.0
    known = utilities[utilities.isfinite()]
    if len(known) < 2:
        return 0.0
    shares, part = (known - lowest) / (highest - lowest), scores.shape[1]
    noise = float((shares * (1 - shares)).mean()) * (1 / part - 1 / examples)
    spread = float(shares.var())
    kept = math.sqrt(max(spread - noise, 0.0) / spread) if spread > 0 else 0.0
    middle = float(shares.mean())
    best, worst = middle + kept * (float(shares.max()) - middle), middle + kept * (float(shares.min()) - middle)
    return best_to_come(best) - (worst if repels else 0.0)


def best_to_come(best: float) -> float:
    """Guess where the global best ends, from that of the first positions; both as shares of the scores' span."""
    return best + RISE * (1 - best)


def asked_later(examples: Sequence[Example], test: Sequence[Example], replies: bool) -> int:
    """Return the pairs that are asked when a search has ended: of two models, the test split and replies to be kept.

    Args:
        examples: That guide the search.
        test: Held back.
        replies: Whether replies to the former are kept.
    """
    return 2 * len(test) + (2 * len(examples) if replies else 0)
