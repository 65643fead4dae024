"""What an objective measures before a search and keeps through it: the same on all ranks, and in the checkpoint.

Both are optional; see `MeasuresTheBase` and `KeepsState` in `objectives/protocol.py`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from swarm_lightning.data.examples import Example
from swarm_lightning.differences import flatten
from swarm_lightning.objectives.protocol import KeepsState, MeasuresTheBase, Objective

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


def prepare_objective(module: "ModelSwarm", examples: Sequence[Example]) -> None:
    """Let the objective measure what it needs on the base model alone, before the first evaluation of a search.

    The first rank measures and the others take over what it found: were all to measure, their last digits might differ.

    Args:
        module: The search, set up.
        examples: The examples that guide it.

    Raises:
        InputError: If the objective can't be prepared; on all ranks.
    """
    objective, ranks = module.objective, module.ranks
    with ranks.together():
        if isinstance(objective, MeasuresTheBase) and ranks.index == 0:
            with module.evaluator.base_alone(examples) as model:
                objective.prepare(examples, model)
    state = ranks.first(objective_state(objective))
    with ranks.together():
        load_objective_state(objective, state)
    if isinstance(objective, MeasuresTheBase) and state:
        shown = ", ".join(f"{name} {value}" for name, value in flatten(state).items())
        rank_zero_info(f"{type(objective).__name__} begins with: {shown}.")


def objective_state(objective: Objective) -> dict[str, Any]:
    """Return what an objective keeps, as plain values by name; nothing for most."""
    return objective.state_dict() if isinstance(objective, KeepsState) else {}


def load_objective_state(objective: Objective, state: dict[str, Any]) -> None:
    """Give an objective what it kept.

    Args:
        objective: Of the class that it comes from.
        state: What `objective_state` returned.

    Raises:
        InputError: If it belongs to another objective.
    """
    if state and isinstance(objective, KeepsState):
        objective.load_state_dict(state)
