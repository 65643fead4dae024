"""The numbers of one iteration, measured once for loggers, history and progress."""

import math
from typing import TYPE_CHECKING

from swarm_lightning.search.results import FOUND
from swarm_lightning.search.tasks import named_parts

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm

# What is measured of every search; `best/<task>` and the particles' own come to these.
NAMES = (
    "step", "global_best", "global_worst", "personal_best_mean", "step_length", "restarts", "broken", "diversity",
    "evaluations", "generated_tokens", "evaluation_seconds", "examples_per_second",
)  # fmt: skip


def measure(module: "ModelSwarm") -> dict[str, float]:
    """Measure the iteration that has just ended.

    A utility that the evaluation left open is NaN, and `at_least` and `at_most` say where it lies; they are equal where
    it is known, and all are -inf where the particle is broken. The global worst is NaN where the search does not ask
    for it. With several tasks, `best/<task>` is the utility of the global best on one of them.

    Args:
        module: The search.

    Returns:
        Numbers by name, always the same names in the same order. All are unitless but the seconds.
    """
    swarm, evaluation, reach = module.swarm, module.evaluation, module.score_memory.reach
    assert evaluation is not None
    seconds = max(module.scoring_seconds, 1e-9)
    bests = swarm.personal_best_utilities
    of_particles = [*swarm.utilities.tolist(), *reach[:, 0].tolist(), *reach[:, 1].tolist()]
    return {
        "step": float(swarm.iterations),
        "global_best": float(swarm.global_best_utility),
        **named_parts(module.parts.get(FOUND, {}), "best"),
        "global_worst": float(swarm.global_worst_utility) if module.repels else math.nan,
        "personal_best_mean": float(bests[bests.isfinite()].mean()),
        "step_length": float(module.particle_swarm.param_groups[0]["lr"]),
        "restarts": float(swarm.restarts.sum()),
        "broken": float(module.broken.sum()),
        "diversity": module.particle_swarm.diversity(),
        "evaluations": float(evaluation.evaluated),
        "generated_tokens": float(evaluation.generated),
        "evaluation_seconds": module.scoring_seconds,
        "examples_per_second": evaluation.evaluated / seconds,
        **dict(zip(names_of_particles(len(bests)), of_particles, strict=True)),
    }


def names_of_particles(count: int) -> list[str]:
    """Return the names of what is measured of every particle.

    >>> names_of_particles(1)
    ['utility/particle_00', 'at_least/particle_00', 'at_most/particle_00']
    """
    return [f"{name}/particle_{index:02d}" for name in ("utility", "at_least", "at_most") for index in range(count)]


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Return the numbers that are known: what a logger can draw."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
