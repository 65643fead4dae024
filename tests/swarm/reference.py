"""The whole search once more, in loops over dictionaries and lists, to compare trajectories with.

Written from the description of the method alone: it shares no code with the package and holds every history as a list,
which the restart and the patience test read literally. Positions are float64. Random numbers come in from outside.
Source: arXiv:2410.11163, Algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Everything a search is told; the names are the method's."""

    iterations: int = 50
    patience: int = 10
    restart_patience: int = 5
    cool_down: bool = False
    first_velocity: str = "zero"
    inertia: float = 0.2
    cognitive: float = 0.3
    social: float = 0.4
    repel: float = 0.05
    step_length: float = 0.75
    step_length_factor: float = 0.95
    minimum_step_length: float = 0.1


@dataclass
class Trajectory:
    """What happened: lists with one entry per iteration, where nothing else is said.

    Attributes:
        utilities: The last known utility of every particle; one entry more, for the first positions.
        positions: Every particle's position, at the same moments.
        global_bests: Weights of g, at the same moments.
        global_best_utilities: Utility of g, at the same moments.
        global_worst_utilities: Utility of w, at the same moments.
        best_particles: The particle that g comes from, at the same moments.
        restarted: The particles restarted before the iteration.
        stopped_by_patience: Whether the search ended before its last iteration.
    """

    utilities: list[list[float]] = field(default_factory=list)
    positions: list[list[Vector]] = field(default_factory=list)
    global_bests: list[Vector] = field(default_factory=list)
    global_best_utilities: list[float] = field(default_factory=list)
    global_worst_utilities: list[float] = field(default_factory=list)
    best_particles: list[int] = field(default_factory=list)
    restarted: list[list[int]] = field(default_factory=list)
    stopped_by_patience: bool = False


def search(
    start: Sequence[Vector],
    utility: Callable[[Vector], float],
    settings: Settings,
    partners: Sequence[int] | None = None,
    draws: Sequence[Any] | None = None,
    skipped: Sequence[Any] | None = None,
) -> Trajectory:
    """Run one search.

    Args:
        start: First position of every particle.
        utility: Scores one position; higher is better, and a value that is not finite is a failed evaluation.
        settings: The settings of the search.
        partners: For the first velocity `random`: the particle that each one heads for.
        draws: `draws[iteration][particle]` holds r_v, r_p, r_g and r_w; None switches randomness off.
        skipped: `skipped[iteration][particle]` tells that an evaluation is left out; None leaves out none.

    Returns:
        The trajectory.
    """
    particles = []
    for position in start:
        score = utility(position)
        particles.append(
            {
                "x": position.copy(),
                "utility": score,
                "p": position.copy(),
                "p_utility": score if np.isfinite(score) else -np.inf,
                # A failed evaluation counts as lower than any other.
                "history": [score if np.isfinite(score) else -np.inf],
                "resumed_at": 0,
            }
        )
    g: dict[str, Any] = {"utility": -np.inf}
    w: dict[str, Any] = {"utility": np.inf}

    trajectory = Trajectory()

    def look_at(index: int) -> None:
        particle = particles[index]
        if not np.isfinite(particle["utility"]):
            return
        if particle["utility"] > g["utility"]:
            g.update(x=particle["x"].copy(), utility=particle["utility"], particle=index)
        # Without a repel term w is the worst of the first positions, for good.
        if particle["utility"] < w["utility"] and (settings.repel > 0 or not trajectory.utilities):
            w.update(x=particle["x"].copy(), utility=particle["utility"])

    for index in range(len(particles)):
        look_at(index)
    for index, particle in enumerate(particles):
        if settings.first_velocity == "zero":
            particle["v"] = np.zeros_like(particle["x"])
        elif settings.first_velocity == "best":
            particle["v"] = g["x"] - particle["x"]
        else:
            assert partners is not None
            particle["v"] = particles[partners[index]]["x"] - particle["x"]

    def record() -> None:
        trajectory.utilities.append([particle["utility"] for particle in particles])
        trajectory.positions.append([particle["x"].copy() for particle in particles])
        trajectory.global_bests.append(g["x"].copy())
        trajectory.global_best_utilities.append(g["utility"])
        trajectory.global_worst_utilities.append(w["utility"])
        trajectory.best_particles.append(g["particle"])

    record()
    g_history = [g["utility"]]
    step_length = settings.step_length
    for iteration in range(settings.iterations):
        if len(g_history) > settings.patience:
            last = g_history[-settings.patience :]
            if all(value == last[0] for value in last):
                trajectory.stopped_by_patience = True
                break

        restarted = []
        for index, particle in enumerate(particles):
            history = particle["history"]
            waited = len(history) - max(history.index(particle["p_utility"]), particle["resumed_at"])
            if waited >= settings.restart_patience:
                particle["x"] = particle["p"].copy()
                particle["v"] = np.zeros_like(particle["x"])
                restarted.append(index)
                if settings.cool_down:
                    particle["resumed_at"] = len(history)
        trajectory.restarted.append(restarted)

        for index, particle in enumerate(particles):
            r_v, r_p, r_g, r_w = (1.0, 1.0, 1.0, 1.0) if draws is None else draws[iteration][index]
            total = r_v * settings.inertia + r_p * settings.cognitive + r_g * settings.social + r_w * settings.repel
            particle["v"] = (
                r_v * settings.inertia * particle["v"]
                + r_p * settings.cognitive * (particle["p"] - particle["x"])
                + r_g * settings.social * (g["x"] - particle["x"])
                + r_w * settings.repel * (particle["x"] - w["x"])
            ) / total
            particle["x"] = particle["x"] + step_length * particle["v"]

        evaluated = []
        for index, particle in enumerate(particles):
            if skipped is None or not skipped[iteration][index]:
                particle["utility"] = utility(particle["x"])
                evaluated.append(index)
                if np.isfinite(particle["utility"]) and particle["utility"] > particle["p_utility"]:
                    particle["p"] = particle["x"].copy()
                    particle["p_utility"] = particle["utility"]
            particle["history"].append(particle["utility"] if np.isfinite(particle["utility"]) else -np.inf)
        for index in evaluated:
            look_at(index)
        g_history.append(g["utility"])
        record()
        step_length = max(step_length * settings.step_length_factor, settings.minimum_step_length)
    return trajectory
