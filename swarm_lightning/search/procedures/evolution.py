"""What a search does before, between and after the steps that move a centre: those of an evolution strategy, CMA-ES.

It finds where the steps begin, and chooses what the search returns; both ask a few positions all examples. A search
that follows a guide begins where the guide is highest, and chooses by its objective.
"""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.search.export import ExportingSearch
from swarm_lightning.search.guide import shown_between
from swarm_lightning.search.measures import OF_STEPS, measure_steps
from swarm_lightning.search.procedures.pacing import Pacing, asked_in_the_end
from swarm_lightning.search.procedures.particles import Begun, Procedure
from swarm_lightning.swarm.centre_search import CHOSEN_AMONG, SIMPLE, CentreSearch
from swarm_lightning.swarm.evolution import REFITTED_UNIT
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy
from swarm_lightning.swarm.rules import best_of
from swarm_lightning.swarm.space import Space
from swarm_lightning.swarm.starts import Refitting, starts_of


class EvolutionProcedure(Procedure):
    """What stands around the steps of an evolution strategy."""

    def __init__(self, search: ExportingSearch) -> None:
        """Start the clock.

        Args:
            search: What is searched with.
        """
        super().__init__(search)
        self._pacing = Pacing()

    @property
    def strategy(self) -> CentreSearch:
        """What does the steps."""
        strategy = self.search.particle_swarm
        assert isinstance(strategy, CentreSearch)
        return strategy

    def metric_names(self) -> list[str]:
        """Return the names of what `measure` measures."""
        return list(OF_STEPS)

    def check(self, examples: Sequence[Example]) -> None:
        """See that the budget holds the experts, without which nothing is known.

        Raises:
            InputError: If it does not.
        """
        turns = 1 if self.search.guide is self.search.objective else 2
        check_budget(self.strategy, len(self.search.pool.names), len(examples), turns)

    def begin(self, examples: Sequence[Example], score: Callable[[], Tensor]) -> Begun:
        """Put the centre at the best of a few sums of the experts; see `place_start`."""
        search, state = self.search, self.search.state
        budget = search.ranks.first(self._pacing.budget(self.strategy, state, *self._clock(examples)))
        every = super().begin(examples, score).every
        fits: list[tuple[Tensor, ...]] = []

        def fit(weights: Tensor) -> tuple[float, Tensor]:
            found = search.refit(weights, examples, len(fits) + 1)
            fits.append(found.downs)
            return found.utility, found.scores

        return place_start(
            self.strategy, search.pool.names, len(examples), state.evaluations, budget, every,
            lambda positions: search.ask_in_full(positions, examples, search.followed),
            Refitting(fit, search.cost_of_fit) if search.refits else None,
            lambda place: search.keep_fit(place + 1, fits[place]),
        )  # fmt: skip

    def before_step(self, examples: Sequence[Example]) -> None:
        """Let the next step ask as many pairs as the time that is left holds, where there are minutes."""
        strategy = self.strategy
        if isinstance(strategy, EvolutionStrategy) and not strategy.done and strategy.seconds is not None:
            pairs = self._pacing.pairs(strategy, self.search.state, *self._clock(examples))
            strategy.pace(self.search.ranks.first(pairs))

    def stakes(self) -> Stakes | None:
        """Leave nothing unasked: a pair is compared on a few examples, which are all asked."""
        return None

    def parts(self, examples: Sequence[Example]) -> dict[str, dict[str, float]]:
        """Return those that are known: a step asks its candidates a few examples each."""
        return self.search.state.parts

    def measure(self, examples: Sequence[Example]) -> dict[str, float]:
        """Measure the step that has just ended."""
        state = self.search.state
        assert state.evaluation is not None
        start = next(iter(state.starts.values()))
        return measure_steps(self.strategy, state.evaluation, state.scoring_seconds, state.broken, start)

    @property
    def open(self) -> bool:
        """Whether it is still to be settled what the search stands for: that is known at the end only."""
        return not self.strategy.chosen

    def choose(self, examples: Sequence[Example]) -> tuple[dict[str, float], Tensor | None]:
        """Choose among a few simple positions and what the steps have reached; see `hand_over`."""
        search, initial = self.search, self.search.best_initial
        utility = float(search.state.before(self.strategy)[initial])
        return hand_over(
            self.strategy, len(search.pool.names), initial, len(search.state.starts), utility,
            lambda positions: search.ask_in_full(positions, examples, search.objective),
        )  # fmt: skip

    def _clock(self, examples: Sequence[Example]) -> tuple[float, int]:
        """Return the seconds that the search has taken, and the pairs that it asks the objective in the end."""
        search = self.search
        elapsed = search.ranks.first(self._pacing.elapsed(search.state.earlier))
        return elapsed, asked_in_the_end(len(examples), len(search.held_back))


def place_start(
    strategy: CentreSearch,
    names: Sequence[str],
    examples: int,
    spent: int,
    budget: int,
    every: int,
    ask: Callable[[Tensor], Evaluation],
    refitting: Refitting | None = None,
    keep: Callable[[int], None] = lambda fit: None,
) -> Begun:
    """Put the centre at the best of a few sums of the experts, within the budget.

    What the steps and the choice in the end need is set aside first, where that leaves the mean and the soup. Else
    these come before the steps, and the soup is one of as many of the best experts as the budget holds; where what is
    left holds no pair of candidates a step, there is no search, and one of what was tried is handed over.

    Args:
        strategy: Begun with the utilities of the experts, which are the first positions.
        names: Of the n experts.
        examples: Number of examples M.
        spent: (model, example) pairs that the search has asked so far.
        budget: That it may ask in all.
        every: Steps from one time that the objective is asked about the centre to the next; 0 for none.
        ask: Asks positions [P, D] all examples.
        refitting: How experts are fitted anew; None where they are not.
        keep: Told which of the fits the search begins with, from 0, where it begins with one.

    Returns:
        What was tried, and `every` where the budget holds it, else 0.
    """
    space = strategy.space
    left = max(0, budget - spent)
    whole, asked = left // examples, 0
    without = max(0, whole - len(SIMPLE))  # without steps, only what takes none is chosen among
    held = (left - CHOSEN_AMONG * examples - strategy.least(examples)) // examples
    needed = len(names) + (0 if refitting is None else refitting.cost)
    affordable = held if held >= needed else without  # the mean, as it is and fitted anew, and the soup come first

    def utilities_of(weights: Tensor) -> Tensor:
        nonlocal asked
        asked += len(weights) * examples
        return ask(spread(space, weights)).utilities

    utilities = strategy.swarm.initial_utilities[: len(names)]
    starts = starts_of(names, utilities, utilities_of, affordable, refitting)
    best, fit = starts.best, starts.best_fit
    left -= asked + len(starts.fits) * (refitting.cost if refitting else 0) * examples + CHOSEN_AMONG * examples
    shown = shown_between(every, strategy.steps_held(left, examples), examples, left)
    second = second_versions(space, len(names))
    if fit is not None:
        keep(fit)
        strategy.start(second, examples, left - shown, free=second.bool(), unit=REFITTED_UNIT)
    else:
        free = ~second.bool() if second.any() else None
        strategy.start(spread(space, best.weights[None])[0], examples, left - shown, free)
    left_out = [*starts.left_out, *([] if strategy.most_steps else ["the search"])]
    rank_zero_info(
        f"The search begins with {best.name} ({best.utility:.4f}), the best of {len(starts.tried)}, and does "
        f"{strategy.planned}."
        + (f" The budget of {budget} is too small for: {', '.join(left_out)}." if left_out else "")
    )
    ordered = [best, *(start for start in starts.tried if start is not best)]
    return Begun(every if shown else 0, {start.name: start.utility for start in ordered})


def check_budget(strategy: CentreSearch, experts: int, examples: int, turns: int) -> None:
    """See that the budget holds the experts, without which nothing is known.

    Args:
        strategy: Not begun yet.
        experts: Number of experts n.
        examples: Number of examples M.
        turns: How often each is asked each: twice where a guide is checked against the objective.

    Raises:
        InputError: If it does not.
    """
    budget, needed = int(strategy.param_groups[0]["evaluations"]), turns * experts * examples
    held = budget // (turns * experts)
    if budget < needed:
        raise InputError(
            f"Expected model.optimizer.evaluations (the budget) to hold {needed} pairs of a model and an example, "
            f"{turns} for each of {experts} experts and {examples} examples, but got {budget}. Raise it"
            + (f", or set data.validation_size to {held} or less." if held else ".")
        )


def hand_over(
    strategy: CentreSearch,
    experts: int,
    initial: int,
    tried: int,
    utility: float,
    ask: Callable[[Tensor], Evaluation],
) -> tuple[dict[str, float], Tensor | None]:
    """Choose what the search stands for: the simplest of what is best on the validation split.

    Of a search without steps the centre is where it began, and only what its budget held is chosen among.

    Args:
        strategy: After its last step.
        experts: Number of experts n.
        initial: Which of them is best.
        tried: How many sums of them it could have begun with, the best alone counted.
        utility: Of the best of them, by the objective.
        ask: Asks positions [P, D] all examples.

    Returns:
        The utility of everything that was chosen among, by name, and the scores of what was chosen [M]; None where
        nothing was asked, as the budget held the experts alone.
    """
    positions = torch.stack([*simple_positions(strategy, experts, initial), strategy.last_centre, strategy.average])
    places = list(range(CHOSEN_AMONG)) if strategy.searched else list(range(len(SIMPLE))) if tried > 1 else [0]
    if places == [0]:
        strategy.choose(0, positions[0], utility)
        return {SIMPLE[0]: utility}, None
    evaluation = ask(positions[places])
    choice = places[best_of(evaluation.utilities)]
    strategy.choose(choice, positions[choice], float(evaluation.utilities[places.index(choice)]))
    choices = dict(zip([strategy.choices[place] for place in places], evaluation.utilities.tolist(), strict=True))
    shown = ", ".join(f"{name} {utility:.4f}" for name, utility in choices.items())
    rank_zero_info(f"The search returns: {strategy.choices[choice]} (on validation: {shown}).")
    return choices, evaluation.scores[places.index(choice)]


def simple_positions(strategy: CentreSearch, experts: int, initial: int) -> Tensor:
    """Return where what takes no step lies [3, D]: see `SIMPLE`.

    Args:
        strategy: Whose centre has a place.
        experts: Number of experts n.
        initial: Which of them is best.
    """
    own = torch.stack([torch.eye(experts)[initial], torch.full((experts,), 1 / experts)])
    return torch.stack([*spread(strategy.space, own).to(strategy.positions), strategy.beginning])


def spread(space: Space, weights: Tensor) -> Tensor:
    """Return positions in which each expert has the same coefficient everywhere.

    Args:
        space: Of coefficients, n experts in G groups.
        weights: One for each expert [P, n].

    Returns:
        Positions [P, D], in which second versions of experts have 0.
    """
    numbers, versions = space.empty(1).shape[1], space.material.versions
    own = weights.float().repeat_interleave(numbers // versions // weights.shape[1], dim=1)
    return torch.cat([own, own.new_zeros(len(own), numbers - own.shape[1])], dim=1)


def second_versions(space: Space, experts: int) -> Tensor:
    """Return the position [D] of the sum of all experts' second versions; zeros where they have none.

    Args:
        space: Of coefficients.
        experts: Number of experts n.
    """
    own = spread(space, torch.ones(1, experts))[0]
    return 1 - own if space.material.versions == 2 else torch.zeros_like(own)
