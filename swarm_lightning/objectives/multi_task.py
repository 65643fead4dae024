"""Several tasks at once: each has an objective and examples of its own, and one number guides the search.

Every example names its task (`Example.task`, set by the data module) and is asked and scored by the objective of that
task alone. How a task's scores become its utility, and the tasks' utilities one number, is in `utility.py` and
`means.py`. Source: arXiv:2410.11163, section 3: the harmonic mean of two tasks.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.checks import check_one_of
from swarm_lightning.objectives.means import harmonic_mean, mean_score, weighted_mean
from swarm_lightning.objectives.protocol import (
    ComparesReplies,
    CountsTokens,
    KeepsState,
    LanguageModel,
    MeasuresTheBase,
    Objective,
    Outcome,
    RepliesOnly,
)
from swarm_lightning.objectives.utility import parts_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COMBINATIONS = ("harmonic_mean", "mean", "minimum", "weighted")
_NAME = re.compile(r"\w[\w-]*")


class MultiTask(Objective):
    """Combine the utilities of several tasks; a task's utility is that of its own objective on its own examples.

    So a task counts the same whether it has 20 examples or 200. Combinations:
        harmonic_mean: n / (1/u_1 + ... + 1/u_n), near the weakest task. It is 0 as soon as the utility of one task is
            0: at the start, a task that no expert can do at all hides what the others gain. Every task must have scores
            of 0 or more.
        mean: The arithmetic mean.
        minimum: The utility of the weakest task.
        weighted: The arithmetic mean with a weight for each task.

    The mean, the minimum and the weights compare utilities as they are: a task with scores from 1 to 10 outweighs one
    with scores from 0 to 1. With scores that have no bounds, as those of MeanLogLikelihood, every particle is asked
    everything.
    """

    bounds: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self,
        tasks: dict[str, Objective],
        combine: Literal["harmonic_mean", "mean", "minimum", "weighted"] = "harmonic_mean",
        weights: dict[str, float] | None = None,
    ) -> None:
        """Set the tasks and how their utilities are combined.

        Args:
            tasks: Mapping from task names to objectives, each given by class_path; `data.dataset` maps the same names
                to datasets.
            combine: harmonic_mean, mean, minimum or weighted.
            weights: Mapping from task names to weights > 0; for weighted only.

        Raises:
            InputError: If a value can't be used, or a task can't be combined with the others.
        """
        check_one_of("combine", combine, COMBINATIONS)
        if not tasks:
            raise InputError("Expected one task or more, but tasks is empty. Give each a name and an objective.")
        for name, part in tasks.items():
            _check_task(name, part, combine)
        self.tasks: Mapping[str, Objective] = dict(tasks)
        self.combine = combine
        self.weights = _checked_weights(combine, weights, list(tasks))
        self.bounds = (min(part.bounds[0] for part in tasks.values()), max(part.bounds[1] for part in tasks.values()))

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse examples that their task can't serve, and a task without examples.

        Args:
            examples: What will be asked.
            tokenizer: The base model's.

        Raises:
            InputError: If an example can't be served, or a task has none.
        """
        self._check_all_there(examples)
        for task, places in self._places(examples).items():
            with_task = [examples[place] for place in places]
            self.tasks[task].check(with_task, tokenizer)

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees for an example."""
        return self._part(example).prompt(example, tokenizer)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Ask every example as its task does, with one call for each task.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; its score is within the bounds of its task.

        Raises:
            InputError: If an example belongs to none of the tasks.
        """
        outcomes: dict[int, Outcome] = {}
        for task, places in self._places(examples).items():
            found = self.tasks[task].evaluate([examples[place] for place in places], model.select(places))
            if len(found) != len(places):
                raise InputError(
                    f"Expected one outcome per example from {type(self.tasks[task]).__name__} of task {task}, but got "
                    f"{len(found)} for {len(places)} examples."
                )
            outcomes.update(zip(places, found, strict=True))
        return [outcomes[place] for place in range(len(examples))]

    def utility(self, scores: Sequence[float], examples: Sequence[Example]) -> float:
        """Combine the utilities of the tasks; it never falls where a score rises.

        Args:
            scores: One per example.
            examples: What was asked. A task without examples here does not count: a search has some of every task.

        Returns:
            The utility of one particle.
        """
        parts = parts_of(self, scores, examples)
        values = list(parts.values())
        if self.combine == "minimum":
            return min(values)
        if self.combine == "mean":
            return mean_score(values)
        if self.weights is not None:
            return weighted_mean(values, [self.weights[task] for task in parts])
        return harmonic_mean(values)

    # What the parts may offer, each with its own examples.

    def tokens_needed(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> int:
        """Return the most tokens that any turn takes, or 0 where the example's task does not count them."""
        part = self._part(example)
        return part.tokens_needed(example, tokenizer) if isinstance(part, CountsTokens) else 0

    def win_rate(
        self, examples: Sequence[Example], outcomes: Sequence[Outcome], others: Sequence[Outcome]
    ) -> float | None:
        """Return the share of examples on which `outcomes` beat `others`, over the tasks that can compare replies.

        Args:
            examples: What was asked.
            outcomes: What came of them.
            others: What they are compared with.

        Returns:
            The share in [0, 1], ties counted half; None where no task compares.
        """
        won, count = 0.0, 0
        for task, places in self._places(examples).items():
            part = self.tasks[task]
            if isinstance(part, ComparesReplies):
                won_by, lost_by = [outcomes[place] for place in places], [others[place] for place in places]
                rate = part.win_rate([examples[place] for place in places], won_by, lost_by)
                if rate is not None:
                    won, count = won + rate * len(places), count + len(places)
        return won / count if count else None

    def replies_only(self) -> "MultiTask":
        """Return the same tasks, each without scores where it can go without them, for predictions."""
        unscored = copy.copy(self)
        unscored.tasks = {
            task: part.replies_only() if isinstance(part, RepliesOnly) else part for task, part in self.tasks.items()
        }
        return unscored

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> None:
        """Let every task that wants it measure the base on its own examples.

        Args:
            examples: The examples that guide the search.
            model: The base alone.

        Raises:
            InputError: If a task has no example.
        """
        self._check_all_there(examples)
        for task, places in self._places(examples).items():
            part = self.tasks[task]
            if isinstance(part, MeasuresTheBase):
                part.prepare([examples[place] for place in places], model.select(places))

    def state_dict(self) -> dict[str, Any]:
        """Return what the tasks keep, by task; those without anything are left out."""
        states = {task: part.state_dict() for task, part in self.tasks.items() if isinstance(part, KeepsState)}
        return {task: state for task, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give every task what it kept.

        Raises:
            InputError: If it belongs to other tasks.
        """
        for task, kept in state.items():
            part = self.tasks.get(task)
            if not isinstance(part, KeepsState):
                raise InputError(
                    f"Expected a checkpoint of the tasks {', '.join(self.tasks)}, but it keeps something for task "
                    f"{task!r}. Use the config of the checkpoint's run folder."
                )
            part.load_state_dict(kept)

    def _part(self, example: Example) -> Objective:
        if example.task not in self.tasks:
            held = f"names the task {example.task!r}" if example.task else "names none"
            raise InputError(
                f"Expected every example to name one of the tasks {', '.join(self.tasks)}, but example "
                f"{example.identifier!r} {held}. Give data.dataset a dataset for each of these names, and a prompt to "
                "answer its task, in a column `task` or with --data.prompts_task."
            )
        return self.tasks[example.task]

    def _places(self, examples: Sequence[Example]) -> dict[str, list[int]]:
        """Return the places of the examples of each task, in the order of the tasks."""
        places: dict[str, list[int]] = {task: [] for task in self.tasks}
        for place, example in enumerate(examples):
            self._part(example)
            places[example.task].append(place)
        return {task: found for task, found in places.items() if found}

    def _check_all_there(self, examples: Sequence[Example]) -> None:
        missing = [task for task in self.tasks if task not in self._places(examples)]
        if missing:
            raise InputError(
                f"Expected examples of every task, but there are none of {', '.join(missing)}. Name a dataset for each "
                "task in data.dataset, or leave the task out of the objective."
            )


def _check_task(name: str, part: Objective, combine: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"Expected the name of a task to be letters, digits, _ and -, because columns and logs are named after it, "
            f"but got {name!r}."
        )
    if isinstance(part, MultiTask):
        raise InputError(
            f"Expected an objective of one task, but that of {name!r} is a MultiTask itself. List its tasks beside the "
            "others."
        )
    lowest, highest = part.bounds
    if combine == "harmonic_mean" and not lowest >= 0:
        raise InputError(
            f"Expected scores of 0 or more from every task of a harmonic mean, but those of {name!r} "
            f"({type(part).__name__}) go from {lowest:g} to {highest:g}. Set combine: mean, minimum or weighted."
        )


def _checked_weights(combine: str, weights: Mapping[str, float] | None, tasks: list[str]) -> dict[str, float] | None:
    if combine != "weighted":
        if weights is not None:
            raise InputError(
                f"Expected weights only with combine: weighted, but got them with {combine}. Leave them out, or set "
                "combine: weighted."
            )
        return None
    if weights is None or sorted(weights) != sorted(tasks):
        raise InputError(
            f"Expected a weight for each of the tasks {', '.join(tasks)}, but got "
            f"{'none' if weights is None else 'some for ' + ', '.join(map(str, weights))}. Name every task once."
        )
    for task, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise InputError(f"Expected weights above 0 and finite, but that of {task!r} is {weight!r}.")
    return {task: float(weights[task]) for task in tasks}
