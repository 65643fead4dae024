"""What a search reports: the numbers of an iteration, and in the end who was best before, who is now, and by how much.

Plain values only, so that a result can be logged, printed, written as JSON, or put on a model card.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from swarm_lightning.evaluation.bootstrap import Gain
from swarm_lightning.evaluation.evaluator import Evaluation
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer

# What is measured of a search whose particles stay: see `measure_steps`.
OF_STEPS = (
    "step", "start", "candidate_mean", "candidate_spread", "step_length", "broken", "evaluations", "generated_tokens",
    "evaluation_seconds", "examples_per_second",
)  # fmt: skip
INITIAL, FOUND = "best initial expert", "best found expert"
# What is measured of every swarm; `best/<task>` and the particles' own come to these.
NAMES = (
    "step", "global_best", "global_worst", "personal_best_mean", "step_length", "restarts", "broken", "diversity",
    "evaluations", "generated_tokens", "evaluation_seconds", "examples_per_second",
)  # fmt: skip
OF_TIME = {"evaluation_seconds", "examples_per_second"}
# What stands before the names under which loggers get these numbers; Lightning takes `step` for its own axis.
GROUPS = ("swarm", "particles", "time")


@dataclass(frozen=True)
class ResultRow:
    """One line of a table of results.

    Attributes:
        name: What was scored, e.g. `best found expert`.
        detail: Which one it is, e.g. the expert's name or the particles of an ensemble.
        utility: Its utility on the split that was scored, higher is better.
        examples: Number of examples that were scored.
        win_rate: Share of examples on which its reply beats that of the best initial expert, ties counted half; None
            where the objective does not compare replies, or nobody asked it to.
        parts: The utility of every task, where the search has several.
        gain: By how much it is above the best initial expert, on a split that did not guide the search.
    """

    name: str
    detail: str
    utility: float
    examples: int
    win_rate: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    gain: Gain | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values, without a win rate, tasks or a gain where there are none."""
        values = asdict(self)
        if self.gain is not None:
            values["gain"]["within_noise"] = self.gain.within_noise
        return {name: value for name, value in values.items() if value is not None and value != {}}


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a whole search.

    Attributes:
        validation: The best initial and the best found expert on the split that guided the search.
        test: The same two on the test split; empty where there is none.
        particle: The particle whose personal best is the best found expert.
        iterations: Iterations done.
        restarts: Restarts of all particles together.
        seconds: Time of the search in seconds, over all of its resumed parts, without loading and the test split.
        evaluations: (particle, example) evaluations of the search, over all of its resumed parts.
        generated_tokens: Tokens that were generated for them.
        starts: The utility of everything that an evolution strategy could have begun with, by name, and its beginning
            first; empty for a swarm.
        choices: The utility on the validation split of everything that was chosen among in the end, by name; empty
            where nothing was.
        guide: How the guide that the search was to follow ranks the first positions, whether it was followed, and its
            utility of the best initial expert and of what was found; empty where the objective was followed from the
            beginning.
    """

    validation: tuple[ResultRow, ...]
    test: tuple[ResultRow, ...]
    particle: int
    iterations: int
    restarts: int
    seconds: float
    evaluations: int
    generated_tokens: int
    starts: Mapping[str, float] = field(default_factory=dict)
    choices: Mapping[str, float] = field(default_factory=dict)
    guide: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, without a guide where there is none."""
        rows = {name: [row.to_dict() for row in getattr(self, name)] for name in ("validation", "test")}
        values = asdict(self) | rows
        return values if self.guide else {name: value for name, value in values.items() if name != "guide"}


def metrics_of(rows: Sequence[ResultRow], split: str) -> dict[str, float]:
    """Return the numbers of a table of results, by the names under which they are logged.

    No name is the beginning of another one, as far as a slash: MLflow makes folders of them.

    Args:
        rows: The table.
        split: Which split was scored.

    >>> metrics_of([ResultRow("best found expert", "particle 1", 0.5, 8, parts={"medqa": 0.25})], "test")
    {'test/best_found_expert': 0.5, 'test/medqa/best_found_expert': 0.25}
    """
    metrics = {}
    for row in rows:
        name = row.name.replace(" ", "_")
        metrics[f"{split}/{name}"] = row.utility
        if row.win_rate is not None:
            metrics[f"{split}/{name}_win_rate"] = row.win_rate
        if row.gain is not None:
            gain = {"gain": row.gain.difference, "gain_low": row.gain.low, "gain_high": row.gain.high}
            metrics |= {f"{split}/{name}_{key}": value for key, value in gain.items()}
        metrics |= {f"{split}/{task}/{name}": value for task, value in row.parts.items()}
    return metrics


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
        Numbers by name, always the same names in the same order. All are unitless but the seconds.
    """
    swarm = optimizer.swarm
    evaluated = evaluation.evaluated + (0 if besides is None else besides.evaluated)
    generated = evaluation.generated + (0 if besides is None else besides.generated)
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
        Numbers by name, always the same names in the same order. All are unitless but the seconds.
    """
    utilities = evaluation.utilities[evaluation.utilities.isfinite()]
    numbers = (
        float(optimizer.swarm.iterations), start, float(utilities.mean()), float(utilities.std(correction=0)),
        optimizer.step_length, float(broken.sum()), float(evaluation.evaluated), float(evaluation.generated), seconds,
        evaluation.evaluated / max(seconds, 1e-9),
    )  # fmt: skip
    return dict(zip(OF_STEPS, numbers, strict=True))


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
