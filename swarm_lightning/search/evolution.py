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

    What the steps and the choice in the end need is set aside first.

    Args:
        strategy: Begun with the utilities of the experts, which are the first positions.
        names: Of the n experts.
        examples: Number of examples M.
        spent: (model, example) pairs that the search has asked so far.
        seconds: How long that took.
        ask: Asks positions [P, D] all examples.

    Returns:
        The utility of everything that was tried, by name, its beginning first.

    Raises:
        InputError: If the budget does not hold one pair of candidates a step.
    """
    settings, space = strategy.settings, strategy.space
    budget = strategy.budget(spent / max(seconds, 1e-9))
    left = budget - spent - len(CHOICES) * examples
    steps = 2 * settings.steps * min(settings.batch, examples)
    asked = 0

    def utilities_of(weights: Tensor) -> Tensor:
        nonlocal asked
        asked += len(weights) * examples
        return ask(spread(space, weights)).utilities

    utilities = strategy.swarm.initial_utilities[: len(names)]
    starts = starts_of(names, utilities, utilities_of, max(0, left - steps) // examples)
    try:
        strategy.start(spread(space, starts.best.weights[None])[0], examples, left - asked)
    except ValueError as error:
        raise InputError(
            f"Expected model.optimizer.evaluations (the budget) to hold the search, but of {budget} pairs of a model "
            f"and an example {spent} go to the experts and {len(CHOICES) * examples} to the choice in the end. {error}"
        ) from error
    best = starts.best
    rank_zero_info(
        f"The search begins with {best.name} ({best.utility:.4f}), the best of {len(starts.tried)}, and does "
        f"{settings.steps} steps of {strategy.pairs} pairs of candidates."
        + (f" The budget does not hold: {', '.join(starts.left_out)}." if starts.left_out else "")
    )
    ordered = [best, *(start for start in starts.tried if start is not best)]
    return {start.name: start.utility for start in ordered}


def hand_over(
    strategy: EvolutionStrategy, experts: int, initial: int, ask: Callable[[Tensor], Evaluation]
) -> tuple[dict[str, float], Tensor]:
    """Choose what the search stands for: the simplest of what is best on the validation split.

    Args:
        strategy: After its last step.
        experts: Number of experts n.
        initial: Which of them is best.
        ask: Asks positions [P, D] all examples.

    Returns:
        The utility of everything that was chosen among, by name, and the scores of what was chosen [M].
    """
    own = torch.stack([torch.eye(experts)[initial], torch.full((experts,), 1 / experts)])
    simple = spread(strategy.space, own).to(strategy.positions)
    positions = torch.stack([*simple, strategy.beginning, strategy.last_centre, strategy.average])
    evaluation = ask(positions)
    choice = simplest_of_the_best(evaluation.utilities, evaluation.scores)
    strategy.choose(choice, positions[choice], float(evaluation.utilities[choice]))
    choices = dict(zip(CHOICES, evaluation.utilities.tolist(), strict=True))
    shown = ", ".join(f"{name} {utility:.4f}" for name, utility in choices.items())
    rank_zero_info(f"The search hands over: {CHOICES[choice]} (on validation: {shown}).")
    return choices, evaluation.scores[choice]


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
