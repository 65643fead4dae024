"""Where the first particles of a search stand, and what their positions are: weights, or coefficients of the experts.

How a population grows is in `swarm/population.py`; rows on the disk are made in `storage.py`.
"""

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.search.resident import base_of
from swarm_lightning.swarm.coefficient_space import CoefficientSpace
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.population import grow_population
from swarm_lightning.vectors import windows

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm

Draws = Literal["particle", "tensor", "coefficient"]
BASE, MEAN = "model.base", "the experts' mean"


def check_draws(module: "ModelSwarm") -> None:
    """Refuse what other random numbers than the published ones can't be combined with.

    Raises:
        InputError: If there are no such draws, the swarm is to lie on the disk, a kernel is asked for, or a population
            of coefficients is to begin with what is no combination of the experts.
    """
    if module.draws not in get_args(Draws):
        raise InputError(f"Expected draws to be one of {', '.join(get_args(Draws))}, but got {module.draws!r}.")
    if module.draws == "particle":
        return
    wanted, got = "", ""
    if module.storage != "memory":
        wanted, got = "model.storage to be memory", module.storage
    elif module.optimizer_factory([torch.zeros(module.particles, 1)]).defaults.get("kernel") == "compiled":
        wanted, got = "kernel to be auto or plain", "compiled"
    elif module.draws == "coefficient" and module.start.kind == "base_and_sparsified":
        wanted, got = "model.start.kind to be experts or experts_and_base", module.start.kind
    if wanted:
        error = InputError(
            f"Expected {wanted} with draws: {module.draws}, but got {got!r}. Leave it out, or set model.draws to "
            "particle."
        )
        error.shared = True
        raise error


def particle_swarm_of(module: "ModelSwarm") -> ParticleSwarm:
    """Make the optimizer of a search, and tell it what its positions are and what is moved apart.

    Args:
        module: The search, with its positions.
    """
    swarm = module.optimizer_factory([module.positions])
    swarm.rows = module.stored
    set_groups(swarm, module, module.draws)
    return swarm


def set_groups(swarm: ParticleSwarm, module: "ModelSwarm", draws: Draws) -> None:
    """Tell a particle swarm what gets random numbers of its own.

    Args:
        swarm: One for the experts of a search.
        module: The search.
        draws: What gets them.
    """
    if draws == "tensor":
        swarm.groups = module.pool.layout.sizes
    elif draws == "coefficient":
        swarm.space = coefficient_space(module)
        swarm.groups = [1] * len(module.pool.names)


def differences_from(module: "ModelSwarm") -> str | None:
    """Return what the differences are taken from that coefficients multiply; None where there are no such.

    Adapters are differences from the base. Those of full checkpoints are taken from the base too, or where the user
    names none, from the experts' mean: coefficients whose sum is not 1 would multiply the whole model.
    """
    if module.draws != "coefficient" or isinstance(module.pool, ExpertPool):
        return None
    return MEAN if module.base is None else BASE


def coefficient_space(module: "ModelSwarm") -> CoefficientSpace:
    """Return the space of a search's experts."""
    pool = module.pool
    if isinstance(pool, ExpertPool):
        return CoefficientSpace(pool.vectors, origin="zeros", stacked=True)
    experts = [pool.vector(index) for index in range(len(pool.names))]
    base = None if module.base is None else pool.base_vector(module.base)
    return CoefficientSpace(experts, origin="mean" if base is None else base)


def first_positions(module: "ModelSwarm", generator: torch.Generator) -> Tensor:
    """Return the first positions [N, D], or [N, n] of coefficients: the experts, and their children behind them.

    Args:
        module: The search.
        generator: Source of the children.

    Returns:
        The positions; with the swarm on the disk numbers of rows [N, 1], which `configure_optimizers` fills in.

    Raises:
        InputError: If the weights of an expert, or of the base that is moved with them, are not finite.
    """
    if module.storage == "disk":
        return torch.zeros(module.particles, 1, dtype=torch.int64)  # until it is known that no checkpoint brings them
    pool, count = module.pool, len(module.pool.names)
    if module.draws == "coefficient":
        if not isinstance(pool, ExpertPool):
            _read_through(module)
        points = module.start.points(torch.eye(count), generator)  # the base has no part of any expert
        return grow_population(points, module.particles, module.child_span, generator)
    positions = torch.empty(module.particles, pool.layout.size, dtype=torch.float32)
    for index in range(count):
        vector = pool.vector(index)
        for start, stop in windows(0, pool.layout.size):
            positions[index, start:stop].copy_(vector[start:stop])
    experts, base = positions[:count], None
    if module.start.kind != "experts":
        experts, base = experts.clone(), pool.base_vector(base_of(module))
    points = module.start.points(experts, generator, None if base is None else base[:])
    return grow_population(points, module.particles, module.child_span, generator, out=positions)


def _read_through(module: "ModelSwarm") -> None:
    """Read what coefficients multiply once, so that files which are not finite are refused before anything is written.

    Raises:
        InputError: If one of them is not.
    """
    pool = module.pool
    for vector in coefficient_space(module).parts:
        for start, stop in windows(0, pool.layout.size):
            _ = vector[start:stop]
