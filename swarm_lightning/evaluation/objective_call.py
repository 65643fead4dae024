"""One call of an objective: it asks and scores, and what comes back is checked before it is used.

A score that is NaN or infinite, or that rests on outputs of the model that are, breaks its particle: it becomes -inf. A
finite score out of the objective's bounds, and an exception, are the objective's fault: the error names the example.
"""

import math
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import RESUME
from swarm_lightning.evaluation.runner import Rows
from swarm_lightning.evaluation.told_rows import LeavesCalls, LeftOff, ToldRows
from swarm_lightning.objectives.protocol import Objective, Outcome
from swarm_lightning.objectives.utility import bounds_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BROKEN = -math.inf
ENGINE = __name__.rpartition(".")[0] + "."


class ObjectiveError(InputError):
    """An objective of the user's own raised an exception; the message says for which example and where."""


def ask(
    objective: Objective,
    examples: Sequence[Example],
    particles: Sequence[int],
    model: Rows,
) -> list[Outcome]:
    """Ask each particle its example.

    Args:
        objective: What is asked, and how it is scored.
        examples: One for each row.
        particles: The particle of every row.
        model: Answers, row by row.

    Returns:
        One outcome per row; its score is -inf where it is not finite or the model's outputs were not.

    Raises:
        ObjectiveError: If an objective that is not of this package raises an exception.
        InputError: If a score is out of bounds, or there is not one for every row.
    """
    try:
        outcomes = objective.evaluate(examples, model.select(range(len(examples))))
    except InputError:
        raise
    except Exception as error:
        if not _is_the_objectives(error, objective, type(model).__module__):
            raise
        raise _blame(error, objective, examples, particles, model) from error
    _check(objective, examples, outcomes)
    return [_settled(outcome, row in model.broken) for row, outcome in enumerate(outcomes)]


def ask_until(
    leave: Callable[[], bool],
    objective: Objective,
    examples: Sequence[Example],
    particles: Sequence[int],
    model: Rows,
) -> list[tuple[int, Outcome]]:
    """Ask each particle its example, or as many as are answered when the model is to be left; see `ask`.

    Args:
        leave: Asked between two passes whether to end now, where the model can be left there.
        objective: What is asked, and how it is scored.
        examples: One for each row.
        particles: The particle of every row.
        model: Answers, row by row.

    Returns:
        Rows with their outcomes, in order; of a call that was left, see `told_rows.py`.
    """
    if isinstance(model, LeavesCalls):
        model.may_leave(leave)
    try:
        return list(enumerate(ask(objective, examples, particles, model)))
    except LeftOff as left:
        rows, said = left.answered(range(len(examples))), left.said
    told = ToldRows(model.tokenizer, model.device, said, rows, model.broken)
    try:
        outcomes = ask(objective, [examples[row] for row in rows], [particles[row] for row in rows], told)
    except LeftOff:  # the objective would have asked them more
        return []
    exact = all(outcome.score == BROKEN or float(outcome.score).is_integer() for outcome in outcomes)
    return list(zip(rows, outcomes, strict=True)) if exact else []


def prompts_of(objective: Objective, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return what the model sees for every example.

    Args:
        objective: Whose prompts.
        examples: What is asked.
        tokenizer: The base model's.

    Raises:
        ObjectiveError: If an objective that is not of this package raises an exception.
    """
    prompts = []
    for example in examples:
        try:
            prompts.append(objective.prompt(example, tokenizer))
        except InputError:
            raise
        except Exception as error:
            if not _is_the_objectives(error, objective):
                raise
            raise ObjectiveError(
                f"Expected a prompt from {type(objective).__name__} for example {example.identifier!r}, but it raised "
                f"{type(error).__name__}: {error} ({_where(error, objective)}). Mend the objective, or leave the "
                "example out."
            ) from error
    return prompts


def _settled(outcome: Outcome, broken: bool) -> Outcome:
    return replace(outcome, score=BROKEN) if broken or not math.isfinite(outcome.score) else outcome


def _check(objective: Objective, examples: Sequence[Example], outcomes: Collection[Outcome]) -> None:
    name = type(objective).__name__
    if len(outcomes) != len(examples):
        raise InputError(
            f"Expected one outcome per example from {name}, but got {len(outcomes)} for {len(examples)} examples."
        )
    for example, outcome, bounds in zip(examples, outcomes, bounds_of(objective, examples), strict=True):
        lowest, highest = bounds
        if math.isfinite(outcome.score) and not lowest <= outcome.score <= highest:
            raise InputError(
                f"Expected scores between {lowest} and {highest} from {name}, as its bounds say, but got "
                f"{outcome.score} for example {example.identifier!r}. Give the lowest score where a reply can't be "
                f"scored, or widen the bounds. {RESUME}"
            )


def _is_the_objectives(error: Exception, objective: Objective, runner: str = ENGINE) -> bool:
    """Tell whether an exception comes out of a user's objective: neither one of this package nor a runner's work."""
    own = type(objective).__module__
    if own.startswith("swarm_lightning."):
        return False
    below = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
    return not any(name.startswith(ENGINE) or (name == runner and name != own) for name in below)


def _blame(
    error: Exception,
    objective: Objective,
    examples: Sequence[Example],
    particles: Sequence[int],
    model: Rows,
) -> ObjectiveError:
    """Find the row for which an objective raises, by asking half of the rows at a time."""
    low, high = 0, len(examples)
    while high - low > 1:
        middle = (low + high) // 2
        if _raises(objective, examples, range(low, middle), model):
            high = middle
        elif _raises(objective, examples, range(middle, high), model):
            low = middle
        else:
            break
    found = sorted(set(particles[low:high]))
    if high - low == 1:
        which = f"example {examples[low].identifier!r} of particle {found[0]}"
    else:
        which = f"one of {high - low} examples, {examples[low].identifier!r} to {examples[high - 1].identifier!r}, of "
        which += f"particles {', '.join(map(str, found))} (it did not raise again for fewer)"
    return ObjectiveError(
        f"Expected a score from {type(objective).__name__} for {which}, but it raised {type(error).__name__}: {error} "
        f"({_where(error, objective)}). Mend the objective or leave the example out. {RESUME}"
    )


def _raises(objective: Objective, examples: Sequence[Example], rows: range, model: Rows) -> bool:
    try:
        objective.evaluate([examples[row] for row in rows], model.select(rows))
    except Exception:
        return True
    return False


def _where(error: Exception, objective: Objective) -> str:
    """Name the last line of the objective's own file that ran, or where that is not known the very last."""
    summary = traceback.extract_tb(error.__traceback__)
    names = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [place for place, name in zip(summary, names, strict=True) if name == type(objective).__module__]
    last = (own or summary)[-1]
    return f"{last.filename}, line {last.lineno}, in {last.name}: {last.line}"
