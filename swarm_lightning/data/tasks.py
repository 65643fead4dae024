"""Several tasks in one search: a dataset for each, read and checked by itself, and the splits of all put together.

Every example then names its task, and its id begins with it. Settings of the data module hold for all tasks, or give
each its own as a mapping from the task's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swarm_lightning.data.checks import check_splits, find_leaks
from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.data.notices import Notice
from swarm_lightning.errors import InputError


def settings_by_task(datasets: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Say with which settings the dataset of each task is read.

    Args:
        datasets: The dataset of every task by the task's name.
        settings: Further settings by name. A mapping whose keys are tasks holds one value for each of them, and null
            for those that it does not name; any other value holds for all. Of `columns`, which is a mapping itself, one
            whose values are mappings is taken for one by task.

    Returns:
        For every task, the settings of its dataset.

    Raises:
        InputError: If a mapping names something that is no task.

    >>> settings_by_task({"a": "a.json", "b": "b.json"}, {"validation_size": {"a": 9}, "seed": 1})["a"]
    {'source': 'a.json', 'validation_size': 9, 'seed': 1}
    """
    found: dict[str, dict[str, Any]] = {task: {"source": source} for task, source in datasets.items()}
    for name, value in settings.items():
        by_task = isinstance(value, Mapping)
        if name == "columns":
            by_task = by_task and any(isinstance(entry, Mapping) for entry in value.values())
        if by_task:
            unknown = [str(task) for task in value if task not in datasets]
            if unknown:
                raise InputError(
                    f"Expected the tasks in {name} to be among {', '.join(datasets)}, but got {', '.join(unknown)}."
                )
        for task in datasets:
            found[task][name] = value.get(task) if by_task else value
    return found


def refuse_tasks(settings: Mapping[str, Any]) -> None:
    """Refuse settings that differ by task where there is one dataset only.

    Args:
        settings: Settings by name; `columns` is a mapping of its own.

    Raises:
        InputError: If one of them is a mapping by task.
    """
    for name, value in settings.items():
        several = isinstance(value, Mapping)
        if name == "columns":
            several = several and any(isinstance(entry, Mapping) for entry in value.values())
        if several:
            raise InputError(
                f"Expected one {name} for the one dataset, but got a mapping with {', '.join(map(str, value))}. Give "
                "dataset as a mapping from task to dataset, or give one value."
            )


def join_tasks(splits: Mapping[str, ExampleSplits]) -> tuple[ExampleSplits, list[Notice]]:
    """Put the splits of several tasks together, task after task, and check each of them.

    Args:
        splits: The splits of every task by the task's name.

    Returns:
        The splits of all, and the findings, each with the task in its message and the gravest first.
    """
    notices: list[Notice] = []
    for task, one in splits.items():
        notices += [_about(task, notice) for notice in (*check_splits(one), *one.notices)]
        others = [example for other, held in splits.items() if other != task for example in held.validation]
        leaks = find_leaks(others, one.test, f"{one.name!r} and the other tasks", known=one.validation)
        notices += [_about(task, notice) for notice in leaks]
    grave_first = {"error": 0, "warning": 1, "info": 2}
    joined = ExampleSplits(
        name=", ".join(f"{task}: {one.name.rsplit('/', 1)[-1]}" for task, one in splits.items()),
        validation=tuple(example for task, one in splits.items() for example in _named(task, one.validation)),
        test=tuple(example for task, one in splits.items() for example in _named(task, one.test)),
    )
    return joined, sorted(notices, key=lambda notice: grave_first[notice.severity])


def give_tasks(prompts: Sequence[Example], tasks: Sequence[str], default: str | None, source: str) -> list[Example]:
    """Say which task every prompt belongs to: that of its column `task`, or the default.

    Args:
        prompts: Prompts to answer.
        tasks: The tasks there are.
        default: The task of the prompts that name none; None if all have to.
        source: Where the prompts come from, for the message.

    Returns:
        The prompts with their tasks.

    Raises:
        InputError: If a prompt names no task, or none of these.
    """
    found = []
    for prompt in prompts:
        task = prompt.extras.get("task", default)
        if task is None:
            raise InputError(
                f"Expected every prompt in {source} to name its task in a column `task` ({', '.join(tasks)}), because "
                f"every task has its own prompt template, but prompt {prompt.identifier} names none. Add the column, "
                "or say which task all others belong to with --data.prompts_task."
            )
        if task not in tasks:
            raise InputError(
                f"Expected the task of prompt {prompt.identifier} in {source} to be among {', '.join(tasks)}, but got "
                f"{task!r}."
            )
        found.append(replace(prompt, task=str(task)))
    return found


def _named(task: str, examples: Sequence[Example]) -> list[Example]:
    return [replace(example, task=task, identifier=f"{task}/{example.identifier}") for example in examples]


def _about(task: str, notice: Notice) -> Notice:
    return replace(notice, message=f"Task {task}: {notice.message}")
