"""Which objective fits a dataset: taken where none is given, and proposed where another one can't serve.

Examples with choices are asked by MultipleChoice, those with an answer by ExactMatch, documents of the
lm-evaluation-harness by HarnessTask. Of a question alone nobody can say how a reply is to be scored. No model and no
tokenizer is needed to see that, so it is found out before anything else is loaded.
"""

import re
from collections.abc import Sequence
from string import ascii_lowercase, digits
from typing import Any

from swarm_lightning.data.examples import Example
from swarm_lightning.data.harness_documents import SPEC
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.exact_match import ExactMatch
from swarm_lightning.objectives.generation_settings import GenerationSettings
from swarm_lightning.objectives.harness_task import HarnessTask
from swarm_lightning.objectives.multi_task import MultiTask
from swarm_lightning.objectives.multiple_choice import MultipleChoice
from swarm_lightning.objectives.protocol import Objective

HARNESS, CHOICES, ANSWER = "a task of the lm-evaluation-harness", "choices", "an answer"
# What fits examples that have this; the first is preferred.
FITTING: dict[str, type[Objective]] = {HARNESS: HarnessTask, CHOICES: MultipleChoice, ANSWER: ExactMatch}
NEEDED = {"MultipleChoice": CHOICES, "ExactMatch": ANSWER}
WITHOUT_ANSWERS = "RewardModel, JudgeRating, Safety, or a function of your own"
LETTER = re.compile(r"[A-Za-z]")
# The name of a column that holds one choice: A, b, 1, option_a, Choice 2.
ONE_CHOICE = re.compile(r"(?:(?:option|choice|answer)[ _-]?)?([a-z]|[0-9])", re.IGNORECASE)
MOST_ROOM = 250  # tokens; whoever wants longer replies says so
MOST_COLUMNS = 12  # a longer list helps nobody


def fitting_objective(examples: Sequence[Example], where: str) -> Objective:
    """Return the objective that fits what the examples have, with its default settings but for the room of replies.

    Args:
        examples: Of one dataset, or of several tasks; then every task gets its own.
        where: The dataset in words, for the message.

    Returns:
        MultipleChoice where there are choices, ExactMatch where there are answers, with room in its replies for the
        longest of them, HarnessTask for documents of the lm-evaluation-harness, and MultiTask of these where there are
        several tasks.

    Raises:
        InputError: If there is nothing to score a reply by.

    >>> type(fitting_objective([Example("1 + 1?", "2")], "sums.csv")).__name__
    'ExactMatch'
    """
    tasks = dict.fromkeys(example.task for example in examples)
    if any(tasks):
        by_task = {task: [example for example in examples if example.task == task] for task in tasks}
        return MultiTask({task: _made_for(own, f"the task {task}") for task, own in by_task.items()})
    return _made_for(examples, where)


def refuse_misfit(objective: str, examples: Sequence[Example], where: str) -> None:
    """Refuse an objective that not one of the examples can be asked by, and say which one fits.

    What a few examples lack is for the objective itself to see.

    Args:
        objective: Name of its class; of those that are not known here nothing is said.
        examples: Of one dataset.
        where: The dataset in words, for the message.

    Raises:
        InputError: If every example lacks what it needs.

    >>> refuse_misfit("ExactMatch", [Example("1 + 1?", "2")], "sums.csv")
    """
    needed = NEEDED.get(objective)
    if needed is None or not examples or any(needed in _had(example) for example in examples):
        return
    fitting = _fitting(examples)
    if fitting is None:
        advice = f"Add it, or name an objective that needs no answers: {WITHOUT_ANSWERS}."
    else:
        name = fitting.__name__
        advice = f"What they have fits {name}: set --model.objective {name}, or name no objective and it is taken."
    raise InputError(f"Expected {needed} in the examples of {where} for {objective}, but none has it. {advice}")


def _made_for(examples: Sequence[Example], where: str) -> Objective:
    fitting = _fitting(examples)
    if fitting is None:
        others = sorted({name for example in examples for name in example.extras})
        more = f", ... ({len(others)} in all)" if len(others) > MOST_COLUMNS else ""
        there = f"; its other columns are {', '.join(others[:MOST_COLUMNS])}{more}" if others else ""
        raise InputError(
            f"Expected an answer to score replies by, but the examples of {where} have a question only{there}. Add the "
            "columns answer (and choices), say which ones they are, as in --data.columns '{answer: my_answer}', or "
            f"name an objective that needs no answers, with --model.objective: {WITHOUT_ANSWERS}."
        )
    if fitting is ExactMatch and (room := room_for([example.answer or "" for example in examples])) is not None:
        return ExactMatch(max_new_tokens=room)
    return fitting()


def room_for(answers: Sequence[str]) -> int | None:
    """Return how many tokens a reply may have so that it can give the longest answer; None where the default is enough.

    There is no tokenizer yet: three letters count as one token, and so does any other character but white space. A
    quarter is added for what a reply says before the answer, and the sum is rounded up to tens.

    Args:
        answers: Gold answers.

    >>> room_for(["Paris", "42"]), room_for(["The Treaty of Westphalia, which ended the Thirty Years' War in 1648"])
    (None, 30)
    """
    longest = max((_tokens_of(answer) for answer in answers), default=0)
    if longest <= GenerationSettings.max_new_tokens:
        return None
    return min(-(-5 * longest // 40) * 10, MOST_ROOM)


def _tokens_of(answer: str) -> int:
    letters = len(LETTER.findall(answer))
    return -(-letters // 3) + len("".join(answer.split())) - letters


def said_of_unread_choices(examples: Sequence[Example]) -> str:
    """Say in a sentence which columns look like choices and are read as none; nothing elsewhere.

    Args:
        examples: Of a dataset, for which an objective was chosen.

    >>> said_of_unread_choices([Example("Red?", "B", extras={"A": "sky", "B": "rose"})]).split(":")[0]
    ' Columns A, B look like choices, but the model does not see them'
    >>> said_of_unread_choices([Example("Red?", "a rose", extras={"B": "from a book", "year": 1990})])
    ''
    """
    if not examples or any(example.choices for example in examples):
        return ""
    named = [(found[1].lower(), column) for column in examples[0].extras if (found := ONE_CHOICE.fullmatch(column))]
    marks = "".join(mark for mark, _ in sorted(named))
    if len(marks) < 2 or not any(run.startswith(marks) for run in (ascii_lowercase, digits, digits[1:])):
        return ""
    columns = ", ".join(column for _, column in sorted(named))
    return (
        f" Columns {columns} look like choices, but the model does not see them: for multiple choice, set "
        f"--data.columns '{{choices: [{columns}]}}'."
    )


def said_of_room(objective: Objective) -> str:
    """Say in a sentence where a chosen objective lets replies be longer than by default; nothing elsewhere.

    Args:
        objective: What `fitting_objective` has returned.
    """
    tasks = objective.tasks if isinstance(objective, MultiTask) else {"": objective}
    rooms = {
        f" of {task}" if task else "": part.settings.max_new_tokens
        for task, part in tasks.items()
        if isinstance(part, ExactMatch) and part.settings.max_new_tokens != GenerationSettings.max_new_tokens
    }
    return "".join(
        f" Replies{task} may have {room} tokens (max_new_tokens), as the longest answers want."
        for task, room in rooms.items()
    )


def as_settings(objective: Objective) -> dict[str, Any]:
    """Return how a config names an objective that `fitting_objective` has returned.

    Args:
        objective: Of any class; one with settings of its own is not written out in full.

    >>> as_settings(ExactMatch(max_new_tokens=30))
    {'class_path': 'swarm_lightning.objectives.ExactMatch', 'init_args': {'max_new_tokens': 30}}
    """
    own: dict[str, Any] = {}
    if isinstance(objective, MultiTask):
        own["tasks"] = {task: as_settings(part) for task, part in objective.tasks.items()}
    elif isinstance(objective, ExactMatch | MultipleChoice):
        own["max_new_tokens"] = objective.settings.max_new_tokens
    named = {"class_path": f"swarm_lightning.objectives.{type(objective).__name__}"}
    return {**named, "init_args": own} if own else named


def _fitting(examples: Sequence[Example]) -> type[Objective] | None:
    """Return the class of the objective that fits."""
    had = {part for example in examples for part in _had(example)}
    return next((class_ for part, class_ in FITTING.items() if part in had), None)


def _had(example: Example) -> set[str]:
    """Name what an example has of all that objectives need."""
    there = {HARNESS: SPEC in example.extras, CHOICES: bool(example.choices), ANSWER: bool(example.answer)}
    return {part for part, has in there.items() if has}
