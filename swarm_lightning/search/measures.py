"""The numbers of an iteration: what is measured, under which names, and that a callback waits for none of another name.

Where only callbacks of this package and of Lightning log, the names are known before the search starts. What else logs
may have further names: then they are looked for after the first iteration.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.counts import plus
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.names import ASSIGNMENTS, FOUND, INITIAL, SYSTEM
from swarm_lightning.objectives.protocol import HasTasks, Objective
from swarm_lightning.objectives.utility import parts_of
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.state import Swarm

# What is measured of a search whose particles stay: see `measure_steps`.
OF_STEPS = (
    "step", "start", "candidate_mean", "candidate_spread", "step_length", "broken", "evaluations", "generated_tokens",
    "forward_passes", "evaluation_seconds", "examples_per_second",
)  # fmt: skip
# What is measured of every swarm; `best/<task>` and the particles' own come to these.
NAMES = (
    "step", "global_best", "global_worst", "personal_best_mean", "step_length", "restarts", "broken", "diversity",
    "evaluations", "generated_tokens", "forward_passes", "evaluation_seconds", "examples_per_second",
)  # fmt: skip
OF_TIME = {"evaluation_seconds", "examples_per_second"}
# What stands before the names under which loggers get these numbers; Lightning takes `step` for its own axis.
GROUPS = ("swarm", "particles", "time")
OURS = ("lightning.", "swarm_lightning.")


def measure(
    optimizer: ParticleSwarm,
    evaluation: Evaluation,
    seconds: float,
    broken: Tensor,
    reach: Tensor,
    parts: Mapping[str, Mapping[str, float]],
    besides: Evaluation | None = None,
) -> dict[str, float]:
    """Measure the iteration that has just ended, once for loggers, history and progress.

    A utility that the evaluation left open is NaN, and `at_least` and `at_most` say where it lies; they are equal where
    it is known, and all are -inf where the particle is broken. The global worst is NaN where the search does not ask
    for it. With several tasks, `best/<task>` is the utility of the global best on one of them.

    Args:
        optimizer: The swarm, and what moves it.
        evaluation: Of its positions.
        seconds: How long that took.
        broken: Which particles are broken [N] bool.
        reach: Where the utility of every particle may lie [N, 2].
        parts: What `note_parts` returned.
        besides: What was evaluated beside the positions; it counts too.

    Returns:
        Numbers by name, always the same names in the same order; no `forward_passes` where nobody can count them. All
        are unitless but the seconds.
    """
    swarm = optimizer.swarm
    evaluated = evaluation.evaluated + (0 if besides is None else besides.evaluated)
    generated = evaluation.generated + (0 if besides is None else besides.generated)
    passes = plus(evaluation.forward_passes, 0 if besides is None else besides.forward_passes)
    bests = swarm.personal_best_utilities
    of_particles = [*swarm.utilities.tolist(), *reach[:, 0].tolist(), *reach[:, 1].tolist()]
    return {
        "step": float(swarm.iterations),
        "global_best": float(swarm.global_best_utility),
        **named_parts(parts.get(FOUND, {}), "best"),
        "global_worst": float(swarm.global_worst_utility) if optimizer.settings.repel > 0 else math.nan,
        "personal_best_mean": float(bests[bests.isfinite()].mean()),
        "step_length": optimizer.step_length,
        "restarts": float(swarm.restarts.sum()),
        "broken": float(broken.sum()),
        "diversity": optimizer.diversity(),
        "evaluations": float(evaluated),
        "generated_tokens": float(generated),
        **({} if passes is None else {"forward_passes": float(passes)}),
        "evaluation_seconds": seconds,
        "examples_per_second": evaluated / max(seconds, 1e-9),
        **dict(zip(names_of_particles(len(bests)), of_particles, strict=True)),
    }


def measure_steps(
    optimizer: SearchOptimizer, evaluation: Evaluation, seconds: float, broken: Tensor, start: float
) -> dict[str, float]:
    """Measure a step of an optimizer that moves no particles, or the first positions before all steps.

    Every candidate is asked a few examples of its own, so that the utility of one says little; `candidate_mean` and
    `candidate_spread` are the mean and the standard deviation of those of all.

    Args:
        optimizer: What has done the step.
        evaluation: Of its candidates.
        seconds: How long that took.
        broken: Which candidates are broken [P] bool.
        start: The utility of where it began.

    Returns:
        Numbers by name, as `measure` does.
    """
    utilities = evaluation.utilities[evaluation.utilities.isfinite()]
    passes = evaluation.forward_passes
    numbers = (
        float(optimizer.swarm.iterations), start, float(utilities.mean()), float(utilities.std(correction=0)),
        optimizer.step_length, float(broken.sum()), float(evaluation.evaluated), float(evaluation.generated),
        None if passes is None else float(passes), seconds, evaluation.evaluated / max(seconds, 1e-9),
    )  # fmt: skip
    return {name: number for name, number in zip(OF_STEPS, numbers, strict=True) if number is not None}


def names_of_metrics(particles: int, tasks: Iterable[str] = ()) -> list[str]:
    """Return the names of all numbers that a search can measure; a few are not known of every iteration.

    Args:
        particles: Number of particles N.
        tasks: Names of its tasks, where it has several.
    """
    return [*NAMES, *named_parts(dict.fromkeys(tasks, 0.0), "best"), *names_of_particles(particles)]


def names_of_particles(count: int) -> list[str]:
    """Return the names of what is measured of every particle.

    >>> names_of_particles(1)
    ['utility/particle_00', 'at_least/particle_00', 'at_most/particle_00']
    """
    return [f"{name}/particle_{index:02d}" for name in ("utility", "at_least", "at_most") for index in range(count)]


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that are known: what a logger can draw."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def logged_name(name: str) -> str:
    """Return the name under which loggers get a number: of the swarm, of one particle, or of the time it takes.

    >>> [logged_name(name) for name in ("global_best", "best/medqa", "utility/particle_07", "evaluation_seconds")]
    ['swarm/global_best', 'swarm/best/medqa', 'particles/utility_07', 'time/evaluation_seconds']
    """
    what, joined, which = name.rpartition("/particle_")
    if joined:
        return f"particles/{what}_{which}"
    return f"time/{name}" if name in OF_TIME else f"swarm/{name}"


def for_loggers(metrics: Mapping[str, float], particles: bool) -> dict[str, float]:
    """Return the numbers of an iteration as loggers get them: those that are known, in groups.

    Args:
        metrics: What was measured.
        particles: Whether those of every particle are among them.

    >>> for_loggers({"step": 1.0, "global_best": 0.5, "utility/particle_00": 0.5}, particles=False)
    {'step': 1.0, 'swarm/global_best': 0.5}
    """
    named = {name if name == "step" else logged_name(name): value for name, value in finite(metrics).items()}
    return {name: value for name, value in named.items() if particles or not name.startswith("particles/")}


def named_parts(parts: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Return the utilities of tasks under the names of metrics, as in `best/medqa`.

    >>> named_parts({"medqa": 0.5}, "best")
    {'best/medqa': 0.5}
    """
    return {f"{prefix}/{task}": utility for task, utility in parts.items()}


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


def note_parts(
    objective: Objective,
    swarm: Swarm,
    scores: Tensor,
    initial: int,
    examples: Sequence[Example],
    before: Mapping[str, dict[str, float]],
) -> dict[str, dict[str, float]]:
    """Say what the best initial and the best found expert make of every task.

    Args:
        objective: What was asked.
        swarm: The swarm, which has just taken in its scores.
        scores: The scores of the personal bests [N, M].
        initial: Which particle is the best initial expert.
        examples: What was asked, M of them.
        before: What this returned before; empty at first.

    Returns:
        Utility by task of both; nothing where the objective has no tasks.
    """
    if not isinstance(objective, HasTasks):
        return {}
    parts = dict(before)
    if not parts:
        parts[INITIAL] = parts_in(objective, scores[initial], examples)
        at_0 = tasks_at_0(objective, swarm.initial_utilities, scores, examples)
        if at_0:
            rank_zero_warn(
                f"Every particle begins with utility 0, because none scores above 0 on {', '.join(at_0)}: until one "
                "does, the search has no signal. Check the prompt and the replies, add an expert that can do it, or "
                "set combine: mean.",
                stacklevel=2,
            )
    parts[FOUND] = parts_in(objective, scores[int(swarm.best_particle)], examples)
    return parts


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


class CheckMonitors(L.Callback):
    """Refuses a `monitor` that the search does not measure."""

    def __init__(self, names: Sequence[str], has_scored: Callable[[], bool]) -> None:
        """Say what there is to monitor.

        Args:
            names: Of all numbers that the search can measure; those that loggers give them can be monitored too.
            has_scored: Tells whether it has scored anything since it was made or resumed.
        """
        self._names = [*names, *(logged_name(name) for name in names if name != "step")]
        self._has_scored = has_scored

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compare with what a search measures, before anything is loaded.

        Raises:
            InputError: If nothing of that name can be measured.
        """
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if stage == "fit" and all(type(callback).__module__.startswith(OURS) for callback in callbacks):
            _check(callbacks, self._names, "measured")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare with what this iteration has measured, before anybody reads it.

        Raises:
            InputError: If it is not there.
        """
        measured = trainer.callback_metrics
        # Lightning ends the epoch of the checkpoint once more when it resumes; nothing has been measured yet.
        if self._has_scored():
            where = f"known of iteration {trainer.current_epoch + 1}"
            _check(trainer.callbacks, list(measured), where)  # type: ignore[attr-defined]


def _check(callbacks: Iterable[L.Callback], names: list[str], how: str) -> None:
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        strict = getattr(callback, "strict", True)
        learning_rate = isinstance(monitor, str) and monitor.startswith("lr-")
        if not isinstance(monitor, str) or monitor in names or not strict or (how == "measured" and learning_rate):
            continue
        close = get_close_matches(monitor, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        own = [name for name in names if name.partition("/")[0] not in GROUPS]  # each has one of a logger beside it
        shown = [name for name in own if "/particle_" not in name]
        more = ", and utility, at_least and at_most of every particle" if len(shown) < len(own) else ""
        raise InputError(
            f"Expected {type(callback).__name__} to monitor a number that is {how}, but got {monitor!r}.{hint} There "
            f"are {', '.join(shown)}{more}."
        )
