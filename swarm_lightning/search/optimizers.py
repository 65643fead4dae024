"""What a search does for its optimizer beside its steps, where that is another one than the particle swarm.

For an evolution strategy it finds where it begins, and chooses what it hands over. Both ask a few positions everything.
What is followed and what decides are the caller's: a search that follows a guide begins where the guide is highest, and
chooses by its objective. For a swarm of graphs of models, it asks the experts first, and measures the models.
"""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.evaluation.final_choice import simplest_of_the_best
from swarm_lightning.names import ASSIGNMENTS, SYSTEM
from swarm_lightning.search.guide import shown_between
from swarm_lightning.search.settings import SearchSettings
from swarm_lightning.swarm.evolution_strategy import CHOICES, EvolutionStrategy
from swarm_lightning.swarm.graphs import FIXED
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.space import Space
from swarm_lightning.swarm.starts import starts_of
from swarm_lightning.swarm.systems import System


def check_evolution(settings: SearchSettings) -> None:
    """Refuse what an evolution strategy can't move or begin with.

    Raises:
        InputError: If positions are no coefficients, or the population is to begin with more than the experts.
    """
    if settings.coefficients is None:
        raise InputError(
            "Expected model.coefficients to be set with EvolutionStrategy, which moves coefficients, but it is null. "
            "Set it to module, or to another of its choices."
        )
    if settings.start.kind != "experts":
        raise InputError(
            "Expected model.start.kind to be experts with EvolutionStrategy, which starts from the best of a few "
            f"weighted sums of them, but got {settings.start.kind}. Leave it out."
        )


def place_start(
    strategy: EvolutionStrategy,
    names: Sequence[str],
    examples: int,
    spent: int,
    budget: int,
    every: int,
    ask: Callable[[Tensor], Evaluation],
) -> tuple[dict[str, float], int]:
    """Put the centre at the best of a few sums of the experts, within the budget.

    What the steps and the choice in the end need is set aside first, where that leaves the mean and the soup. Else
    these come before the steps; where what is left holds no pair of candidates a step, there is no search, and one of
    what was tried is handed over.

    Args:
        strategy: Begun with the utilities of the experts, which are the first positions.
        names: Of the n experts.
        examples: Number of examples M.
        spent: (model, example) pairs that the search has asked so far.
        budget: That it may ask in all.
        every: Steps from one time that the objective is asked about the centre to the next; 0 for none.
        ask: Asks positions [P, D] all examples.

    Returns:
        The utility of everything that was tried, by name, its beginning first, and `every` where the budget holds it,
        else 0.
    """
    settings, space = strategy.settings, strategy.space
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
    left -= asked + len(CHOICES) * examples
    shown = shown_between(every, settings.steps, examples, left)
    strategy.start(spread(space, best.weights[None])[0], examples, left - shown)
    left_out = [*starts.left_out, *([] if strategy.pairs else ["the search"])]
    rank_zero_info(
        f"The search begins with {best.name} ({best.utility:.4f}), the best of {len(starts.tried)}, and does "
        f"{strategy.most_steps} steps of {strategy.pairs} pairs of candidates."
        + (f" The budget of {budget} does not hold: {', '.join(left_out)}." if left_out else "")
    )
    ordered = [best, *(start for start in starts.tried if start is not best)]
    return {start.name: start.utility for start in ordered}, every if shown else 0


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
    places = list(range(len(CHOICES))) if strategy.searched else [0, 1, 2] if tried > 1 else [0]
    if places == [0]:
        strategy.choose(0, positions[0], utility)
        return {CHOICES[0]: utility}, None
    evaluation = ask(positions[places])
    choice = places[simplest_of_the_best(evaluation.utilities, evaluation.scores)]
    strategy.choose(choice, positions[choice], float(evaluation.utilities[places.index(choice)]))
    choices = dict(zip([CHOICES[place] for place in places], evaluation.utilities.tolist(), strict=True))
    shown = ", ".join(f"{name} {utility:.4f}" for name, utility in choices.items())
    rank_zero_info(f"The search returns: {CHOICES[choice]} (on validation: {shown}).")
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


def check_heterogeneous(settings: SearchSettings, optimizer: SearchOptimizer) -> None:
    """Refuse graphs without what moves them, and settings of graphs that say nothing together.

    Args:
        settings: Of the search.
        optimizer: What is to move it.

    Raises:
        InputError: If they do not go together.
    """
    moves_graphs = isinstance(optimizer, HeterogeneousSwarm)
    if moves_graphs != (settings.graphs is not None):
        has, lacks = (
            ("HeterogeneousSwarm as model.optimizer", "model.graphs is not set. Set it, {} will do,")
            if moves_graphs
            else ("model.graphs", f"model.optimizer is {type(optimizer).__name__}. Set it to HeterogeneousSwarm,")
        )
        raise InputError(f"Expected model.graphs and HeterogeneousSwarm together, but got {has}, and {lacks} or leave "
                         "both out.")  # fmt: skip
    if settings.graphs is None or not isinstance(optimizer, HeterogeneousSwarm):
        return
    fixed = settings.graphs.decoding.fixed
    if fixed is not None and optimizer.moves != "weights":
        raise InputError(
            f"Expected model.optimizer.moves to be weights with model.graphs.decoding.fixed {fixed}, because a graph "
            f"that is fixed has no roles to move, but got {optimizer.moves}. Set it to weights, or fixed to null."
        )
    if settings.graphs.any_models and optimizer.moves != "roles":
        raise InputError(
            "Expected model.optimizer.moves to be roles with model.graphs.any_models, because weights of models of "
            f"different shapes can't be moved towards each other, but got {optimizer.moves}. Set it to roles, or give "
            "experts of one shape and leave any_models out."
        )
    if settings.guide != "objective":
        raise InputError(
            f"Expected model.guide to be objective with model.graphs, whose models reply with text, but got "
            f"{settings.guide}. Leave it out."
        )


def begin_models(
    optimizer: HeterogeneousSwarm, ask: Callable[[Sequence[System]], Evaluation], score: Callable[[], Tensor]
) -> None:
    """Ask the experts alone, which is what a search is compared with, and the first assignments of them.

    Args:
        optimizer: Begun with the utilities of the first graphs.
        ask: Asks systems everything.
        score: Scores what the optimizer asks.
    """
    graphs = optimizer.graphs
    optimizer.begin_models(ask([graphs.expert(model) for model in range(graphs.nodes)]).utilities, score)


def references_of(optimizer: HeterogeneousSwarm) -> dict[str, System]:
    """Return graphs of the experts that nobody had to search, by name: the better an expert, the nearer to the end.

    Args:
        optimizer: Which knows how good each expert is alone.
    """
    graphs, utilities = optimizer.graphs, optimizer.expert_utilities
    ordered = utilities.masked_fill(~utilities.isfinite(), -torch.inf).argsort(stable=True).tolist()
    return {f"{name} of the experts": System(made(graphs.nodes), tuple(ordered), graphs.experts)
            for name, made in FIXED.items()}  # fmt: skip


def measure_models(optimizer: HeterogeneousSwarm, assignments: Evaluation | None) -> dict[str, float]:
    """Measure the best system and the models after an iteration.

    Args:
        optimizer: What moves them.
        assignments: What the iteration's weight step has asked; None where it had none.

    Returns:
        Numbers by name, the names of `names_of_models`.
    """
    count = optimizer.graphs.nodes
    unknown = torch.full((count,), torch.nan, dtype=torch.float64)
    utilities = optimizer.models.utilities if optimizer.has_models else unknown
    finite = torch.zeros(0) if assignments is None else assignments.utilities[assignments.utilities.isfinite()]
    of_all = [optimizer.found_utility, float(finite.mean()) if len(finite) else torch.nan]
    return dict(zip(names_of_models(count), [*of_all, *utilities.tolist()], strict=True))


def names_of_models(count: int) -> list[str]:
    """Return the names of what `measure_models` measures.

    Args:
        count: Number of models n.
    """
    return [SYSTEM, ASSIGNMENTS, *(f"model_utility/model_{model:02d}" for model in range(count))]
