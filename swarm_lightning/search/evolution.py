"""What a search by an evolution strategy does beside its steps: find where it begins, and choose what it hands over.

Both ask a few positions everything. What is followed and what decides are the caller's: a search that follows a guide
begins where the guide is highest, and chooses by its objective.
"""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.evaluation.final_choice import simplest_of_the_best
from swarm_lightning.swarm.evolution_strategy import CHOICES, EvolutionStrategy
from swarm_lightning.swarm.space import Space
from swarm_lightning.swarm.starts import starts_of


def place_start(
    strategy: EvolutionStrategy,
    names: Sequence[str],
    examples: int,
    spent: int,
    seconds: float,
    ask: Callable[[Tensor], Evaluation],
) -> dict[str, float]:
    """Put the centre at the best of a few sums of the experts, within the budget.

    What the steps and the choice in the end need is set aside first, where that leaves the mean and the soup. Else
    these come before the steps; where what is left holds no pair of candidates a step, there is no search, and one of
    what was tried is handed over.

    Args:
        strategy: Begun with the utilities of the experts, which are the first positions.
        names: Of the n experts.
        examples: Number of examples M.
        spent: (model, example) pairs that the search has asked so far.
        seconds: How long that took.
        ask: Asks positions [P, D] all examples.

    Returns:
        The utility of everything that was tried, by name, its beginning first.
    """
    settings, space = strategy.settings, strategy.space
    budget = strategy.budget(spent / max(seconds, 1e-9))
    left = max(0, budget - spent)
    whole, asked = left // examples, 0
    # Without steps, no more than three different things are chosen among: best expert, mean, and beginning.
    without = whole - len(CHOICES) if whole > len(CHOICES) else max(0, min(1, whole - 3))
    steps = 2 * settings.steps * min(settings.batch, examples)
    held = (left - len(CHOICES) * examples - steps) // examples
    affordable = held if held >= len(names) else without  # the mean and the soup come before a search

    def utilities_of(weights: Tensor) -> Tensor:
        nonlocal asked
        asked += len(weights) * examples
        return ask(spread(space, weights)).utilities

    utilities = strategy.swarm.initial_utilities[: len(names)]
    starts = starts_of(names, utilities, utilities_of, affordable)
    best = starts.best
    strategy.start(spread(space, best.weights[None])[0], examples, left - asked - len(CHOICES) * examples)
    left_out = [*starts.left_out, *([] if strategy.pairs else ["the search"])]
    rank_zero_info(
        f"The search begins with {best.name} ({best.utility:.4f}), the best of {len(starts.tried)}, and does "
        f"{strategy.most_steps} steps of {strategy.pairs} pairs of candidates."
        + (f" The budget of {budget} does not hold: {', '.join(left_out)}." if left_out else "")
    )
    ordered = [best, *(start for start in starts.tried if start is not best)]
    return {start.name: start.utility for start in ordered}


def check_budget(strategy: EvolutionStrategy, experts: int, examples: int, turns: int) -> None:
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
    if budget < needed:
        raise InputError(
            f"Expected model.optimizer.evaluations (the budget) to hold {needed} pairs of a model and an example, "
            f"{turns} for each of {experts} experts and {examples} examples, but got {budget}. Raise it, or set "
            f"data.validation_size to {budget // (turns * experts)} or less."
        )


def hand_over(
    strategy: EvolutionStrategy,
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
    own = torch.stack([torch.eye(experts)[initial], torch.full((experts,), 1 / experts)])
    simple = spread(strategy.space, own).to(strategy.positions)
    positions = torch.stack([*simple, strategy.beginning, strategy.last_centre, strategy.average])
    places = list(range(len(CHOICES))) if strategy.pairs else [0, 1, 2] if tried > 1 else [0]
    if places == [0]:
        strategy.choose(0, positions[0], utility)
        return {CHOICES[0]: utility}, None
    evaluation = ask(positions[places])
    choice = places[simplest_of_the_best(evaluation.utilities, evaluation.scores)]
    strategy.choose(choice, positions[choice], float(evaluation.utilities[places.index(choice)]))
    choices = dict(zip([CHOICES[place] for place in places], evaluation.utilities.tolist(), strict=True))
    shown = ", ".join(f"{name} {utility:.4f}" for name, utility in choices.items())
    rank_zero_info(f"The search hands over: {CHOICES[choice]} (on validation: {shown}).")
    return choices, evaluation.scores[places.index(choice)]


def spread(space: Space, weights: Tensor) -> Tensor:
    """Return positions in which each expert has the same coefficient everywhere.

    Args:
        space: Of coefficients, n experts in G groups.
        weights: One for each expert [P, n].

    Returns:
        Positions [P, n G].
    """
    groups = space.empty(1).shape[1] // weights.shape[1]
    return weights.float().repeat_interleave(groups, dim=1)
