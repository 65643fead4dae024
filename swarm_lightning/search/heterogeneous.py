"""What a search of graphs of models does beside its steps: refuse what does not fit, ask the experts first, measure."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.swarm.graphs import FIXED
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.systems import System

if TYPE_CHECKING:
    from swarm_lightning.search.settings import SearchSettings

# What is measured beside the numbers of any swarm; the utilities of the models come to these.
SYSTEM, ASSIGNMENTS = "system_best", "assignments_mean"


def check_heterogeneous(settings: "SearchSettings", optimizer: SearchOptimizer) -> None:
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
