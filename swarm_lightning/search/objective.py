"""What a search does with its objective: refuse tasks that do not fit the data, let it measure, keep what it knows.

Preparing and keeping a state are optional for an objective, and so are tasks; see `MeasuresTheBase`, `KeepsState` and
`HasTasks` in `objectives/protocol.py`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.differences import flatten
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.objectives.fitting import fitting_objective, refuse_misfit
from swarm_lightning.objectives.protocol import HasTasks, KeepsState, MeasuresTheBase, Objective

if TYPE_CHECKING:
    from swarm_lightning.evaluation.evaluator import Evaluator


def check_tasks(objective: Objective, splits: ExampleSplits | None) -> None:
    """Refuse an objective and data that do not have the same tasks, before anything is loaded or written.

    Args:
        objective: What will be asked.
        splits: The data; None where it is the user's own, and seen only when it comes.

    Raises:
        InputError: If a task has no dataset, or a dataset no task.
    """
    if splits is None:
        return
    named = dict.fromkeys(example.task for example in (*splits.validation, *splits.test))
    given = [task for task in named if task]
    if not isinstance(objective, HasTasks):
        if given:
            raise InputError(
                f"Expected one dataset for {type(objective).__name__}, but data.dataset has one for each of "
                f"{', '.join(given)}. Set model.objective to swarm_lightning.objectives.MultiTask with these tasks, or "
                "name one dataset."
            )
        return
    if not given:
        raise InputError(
            f"Expected data.dataset to be a mapping with a dataset for each of the tasks {', '.join(objective.tasks)}, "
            "but it is one dataset. Write `dataset: {name: file, ...}` with these names."
        )
    without_data = [task for task in objective.tasks if task not in given]
    without_objective = [task for task in given if task not in objective.tasks]
    if without_data or without_objective:
        lacking = [f"data.dataset lacks {', '.join(without_data)}"] if without_data else []
        lacking += [f"the objective lacks {', '.join(without_objective)}"] if without_objective else []
        raise InputError(
            f"Expected the same tasks in model.objective and data.dataset, but {' and '.join(lacking)}. Give every "
            "task an objective and a dataset."
        )


def check_data(objective: Objective, splits: ExampleSplits | None) -> None:
    """Refuse an objective and data that do not go together, before anything is loaded or written.

    Args:
        objective: What will be asked.
        splits: The data; None where it is the user's own, and seen only when it comes.

    Raises:
        InputError: If they have not the same tasks, or the examples have nothing of what the objective needs.
    """
    check_tasks(objective, splits)
    if splits is None:
        return
    examples = (*splits.validation, *splits.test)
    if isinstance(objective, HasTasks):
        for task, part in objective.tasks.items():
            own = [example for example in examples if example.task == task]
            refuse_misfit(type(part).__name__, own, f"the task {task}")
        return
    refuse_misfit(type(objective).__name__, examples, repr(splits.name))


def chosen_objective(splits: ExampleSplits | None) -> Objective:
    """Return the objective that is taken where the user names none; see `fitting_objective`.

    Args:
        splits: The data; None where it is the user's own.

    Raises:
        InputError: If the data do not say how they are to be scored.
    """
    if splits is None:
        raise InputError(
            "Expected an objective, because the examples of a dataloader of your own say nothing about one, but got "
            "none. Name one, as in ModelSwarm(objective=ExactMatch(), ...)."
        )
    return fitting_objective((*splits.validation, *splits.test), repr(splits.name))


def prepare_objective(objective: Objective, evaluator: "Evaluator", ranks: Ranks, examples: Sequence[Example]) -> None:
    """Let the objective measure what it needs on the base model alone, before the first evaluation of a search.

    The first rank measures and the others take over what it found: were all to measure, their last digits might differ.

    Args:
        objective: What is asked.
        evaluator: Lends the base.
        ranks: The processes that share the work.
        examples: The examples that guide the search.

    Raises:
        InputError: If the objective can't be prepared; on all ranks.
    """
    with ranks.together():
        if isinstance(objective, MeasuresTheBase) and ranks.index == 0:
            with evaluator.base_alone(examples) as model:
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
