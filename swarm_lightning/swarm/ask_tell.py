"""One iteration of a swarm in two halves: ask where the particles go, tell what their utilities are there.

Nothing here holds a state: the swarm, its space, its settings and its random numbers come in as arguments, so that a
whole search can be run on scripted utilities without any model. The matrices of a swarm may be as large as memory
allows, so `ask` and `tell` update its tensors in place and say so. Source: arXiv:2410.11163, Algorithm 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.swarm.broken import revive
from swarm_lightning.swarm.rules import best_of, due, remember
from swarm_lightning.swarm.settings import SwarmSettings
from swarm_lightning.swarm.space import Space
from swarm_lightning.swarm.state import Swarm, first_state


class Draws(NamedTuple):
    """The random numbers of one iteration.

    Attributes:
        terms: Numbers in [0, 1], [N, 4] float64: one per particle for inertia, cognitive, social and repel; with G
            groups of numbers [N, G, 4].
        due: Which particles the iteration evaluates [N] bool, before it is known which of them are finite.
    """

    terms: Tensor
    due: Tensor


class Candidates(NamedTuple):
    """What an iteration asks about the positions that it has reached.

    Attributes:
        due: The particles whose utilities are read [N] bool.
        lost: Those whose numbers the move has made NaN or infinite [N] bool: there is nothing to evaluate.
    """

    due: Tensor
    lost: Tensor


def begin(
    space: Space, positions: Tensor, utilities: Tensor, settings: SwarmSettings, generator: torch.Generator
) -> Swarm:
    """Open a search with the utilities of the first positions.

    Velocities and personal bests become new tensors beside the positions.

    Args:
        space: What the positions mean.
        positions: First positions [N, D]; kept by reference, and one that is not finite becomes that of the best.
        utilities: Their utilities [N]; higher is better.
        settings: Of the swarm.
        generator: Source of the random numbers.

    Returns:
        The swarm before the first iteration.

    Raises:
        ValueError: If the shape is wrong, or no utility is finite.
    """
    _check(utilities, len(positions))
    lost = ~space.finite(positions)
    utilities = utilities.detach().to("cpu", torch.float64)
    utilities = utilities.masked_fill(lost | utilities.isinf(), -torch.inf)
    if lost.any() and utilities.isfinite().any():
        best = best_of(utilities)
        for index in lost.nonzero().flatten().tolist():
            positions[index].copy_(positions[best])
    velocities = space.first_velocities(positions, utilities, settings.first_velocity, generator)
    return first_state(positions, velocities, utilities)


def draw(space: Space, particles: int, settings: SwarmSettings, generator: torch.Generator) -> Draws:
    """Draw all random numbers of one iteration.

    Args:
        space: What the positions mean, for the groups that get random numbers of their own.
        particles: Number of particles N.
        settings: Of the swarm.
        generator: Source of the random numbers; as many are drawn whatever the settings are.
    """
    moved = (particles,) if space.groups is None else (particles, len(space.groups))
    terms = torch.rand(*moved, 4, dtype=torch.float64, generator=generator)
    if not settings.randomness:
        terms.fill_(1)
    return Draws(terms, due(particles, settings.drop_iteration, settings.drop_particle, generator))


def ask(swarm: Swarm, space: Space, settings: SwarmSettings, step_length: float, draws: Draws) -> Candidates:
    """Move every particle, and say whose utility is wanted.

    Args:
        swarm: Positions and velocities are updated in place.
        space: What the positions mean.
        settings: Of the swarm; with `kernel` settled.
        step_length: Fraction of the new velocity that is travelled, > 0.
        draws: The random numbers of this iteration.

    Raises:
        ValueError: If the four drawn weights of a particle sum to zero.
        KernelError: If the kernel can't be compiled here; nothing has moved then.
    """
    space.move(swarm, draws.terms, settings.coefficients, step_length, settings.kernel)
    lost = ~space.finite(swarm.positions)
    return Candidates(draws.due & ~lost, lost)


def tell(swarm: Swarm, settings: SwarmSettings, candidates: Candidates, utilities: Tensor) -> None:
    """Take in the utilities of the positions that `ask` has reached.

    Args:
        swarm: Bests, worst, utilities and counters are updated in place; a broken particle goes on from its personal
            best.
        settings: Of the swarm.
        candidates: What `ask` returned.
        utilities: Utilities [N] of the current positions; only those that are due are read. NaN leaves a utility open;
            an infinite one breaks a particle.

    Raises:
        ValueError: If the shape is wrong; nothing has changed then.
    """
    _check(utilities, len(swarm.positions))
    utilities = utilities.detach().to("cpu", torch.float64)
    broken = candidates.lost | (candidates.due & utilities.isinf())
    utilities = utilities.masked_fill(broken, -torch.inf)
    remember(swarm, utilities, candidates.due | broken, track_worst=settings.repel > 0)
    revive(swarm, broken, ~candidates.lost)


def _check(utilities: Tensor, particles: int) -> None:
    if tuple(utilities.shape) != (particles,):
        raise ValueError(f"Expected {particles} utilities, one per particle, but got {tuple(utilities.shape)}.")
