"""Searches with several tasks: whether objective and data name the same ones, and what each task's utility is."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.protocol import HasTasks, Objective
from swarm_lightning.objectives.utility import parts_of
from swarm_lightning.search.results import FOUND, INITIAL

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


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


def parts_in(objective: Objective, scores: Tensor, examples: Sequence[Example]) -> dict[str, float]:
    """Return the utility of every task; nothing where the objective has no tasks, or not everything was asked.

    Args:
        objective: What was asked.
        scores: Scores of one particle [M].
        examples: What was asked, M of them.
    """
    if len(scores) != len(examples) or scores.isnan().any():
        return {}
    return parts_of(objective, scores.tolist(), examples)


def note_parts(module: "ModelSwarm", examples: Sequence[Example]) -> None:
    """Keep in mind what the best initial and the best found expert make of every task.

    Args:
        module: The search, whose swarm has just taken in its scores.
        examples: The examples that guide it.
    """
    if not isinstance(module.objective, HasTasks):
        return
    if not module.parts:
        module.parts[INITIAL] = parts_in(module.objective, module.score_memory.best[module.best_initial], examples)
        at_0 = tasks_at_0(module.objective, module.swarm.initial_utilities, module.score_memory.best, examples)
        if at_0:
            rank_zero_warn(
                f"Every particle begins with utility 0, because none scores above 0 on {', '.join(at_0)}: until one "
                "does, nothing guides the search. Look at the prompt and the reply, bring an expert that can do it, or "
                "set combine: mean.",
                stacklevel=2,
            )
    best = module.score_memory.best[int(module.swarm.best_particle)]
    module.parts[FOUND] = parts_in(module.objective, best, examples)


def tasks_at_0(objective: Objective, utilities: Tensor, scores: Tensor, examples: Sequence[Example]) -> list[str]:
    """Name the tasks that keep every utility at 0, as one that nobody can do does in a harmonic mean.

    Args:
        objective: What was asked.
        utilities: Utility of every particle [N].
        scores: Their scores [N, M].
        examples: What was asked, M of them.

    Returns:
        Names of tasks; none where any utility is another than 0.
    """
    if bool((utilities != 0).any()):
        return []
    parts = [parts_in(objective, row, examples) for row in scores]
    return [task for task in parts[0] if all(part.get(task, 0.0) == 0 for part in parts)]


def named_parts(parts: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Return the utilities of tasks under the names of metrics, as in `best/medqa`.

    >>> named_parts({"medqa": 0.5}, "best")
    {'best/medqa': 0.5}
    """
    return {f"{prefix}/{task}": utility for task, utility in parts.items()}
