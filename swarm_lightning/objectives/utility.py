"""What the scores of one particle are worth: the mean score, unless the objective says otherwise.

Objectives that follow `CombinesScores` compute the utility themselves, and those that follow `HasTasks` are made of
parts, each with examples, bounds and a utility of its own. Everything that turns scores into a utility asks here.
"""

from collections.abc import Callable, Sequence

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.means import mean_score
from swarm_lightning.objectives.protocol import CombinesScores, HasTasks, Objective, PaysForScores, RepliesOnly


def utility_of(objective: Objective, scores: Sequence[float], examples: Sequence[Example]) -> float:
    """Return the utility of one particle.

    Args:
        objective: What was asked.
        scores: One per example, none of them NaN.
        examples: One or more.
    """
    return how_combined(objective)(scores, examples)


def how_combined(objective: Objective) -> Callable[[Sequence[float], Sequence[Example]], float]:
    """Return what turns scores of examples into a utility, to be found out once where it is asked often.

    Args:
        objective: What was asked.
    """
    return objective.utility if isinstance(objective, CombinesScores) else lambda scores, _: mean_score(scores)


def parts_of(objective: Objective, scores: Sequence[float], examples: Sequence[Example]) -> dict[str, float]:
    """Return the utility of every part of an objective that has some; nothing for any other.

    Args:
        objective: What was asked.
        scores: One per example, none of them NaN.
        examples: What was asked; a part without examples is left out.

    Returns:
        Utilities by the names of the tasks, in their order.
    """
    if not isinstance(objective, HasTasks):
        return {}
    by_task: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        by_task.setdefault(example.task, []).append(place)
    return {
        task: utility_of(part, [scores[place] for place in by_task[task]], [examples[place] for place in by_task[task]])
        for task, part in objective.tasks.items()
        if task in by_task
    }


def each_of(objective: Objective) -> list[Objective]:
    """Return the objectives of all tasks, or the objective itself where there are none."""
    return list(objective.tasks.values()) if isinstance(objective, HasTasks) else [objective]


def pays(objective: Objective) -> bool:
    """Tell whether a score, of any of its tasks, comes from a service that is paid."""
    return any(isinstance(part, PaysForScores) for part in each_of(objective))


def unpaid(objective: Objective) -> Objective:
    """Return what asks the same and pays for nothing; the objective itself where it pays for nothing."""
    return objective.replies_only() if pays(objective) and isinstance(objective, RepliesOnly) else objective


def bounds_of(objective: Objective, examples: Sequence[Example]) -> list[tuple[float, float]]:
    """Return the lowest and the highest score that each example can get: those of its task where there are several.

    Args:
        objective: What is asked.
        examples: M of them, with their tasks: whether an objective has any is slow to find out, and found out once.
    """
    tasks = objective.tasks if isinstance(objective, HasTasks) else {}
    return [tasks.get(example.task, objective).bounds for example in examples]
