"""The move of `rules.py` as one fused kernel: every number is read once and written once.

`rules.move` makes seven passes over a block that lies in the cache; here `torch.compile` makes one of them, and the
memory's bandwidth is what limits it. The numbers are those of `rules.move` to rounding. Compiling takes about ten
seconds, once in a process, for any number of particles and weights, any coefficients and any step length.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from swarm_lightning.doors.torch import CompileError, compile_in_order
from swarm_lightning.swarm.rules import Coefficients, move_block
from swarm_lightning.swarm.state import Swarm

# Weights of one block: its parts of g and w (128 KiB) stay in a core's cache while all particles pass.
BLOCK = 16_384
WORTH_COMPILING = 2**28  # numbers N x D


class KernelError(RuntimeError):
    """The fused kernel could not be compiled."""


def move_fused(swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float) -> None:
    """Do what `rules.move` does, in one pass over memory.

    Args:
        swarm: Positions and velocities [N, D]; both are updated in place.
        draws: Numbers in [0, 1], [N, 4]: one per particle for inertia, cognitive, social and repel.
        coefficients: Non-negative weights of the four terms, unitless.
        step_length: Fraction of the new velocity that is travelled, > 0.

    Raises:
        ValueError: If the four drawn weights of a particle sum to zero.
        KernelError: If the kernel can't be compiled here; nothing has moved then.
    """
    shares = coefficients.weigh(draws).to(swarm.positions)
    length = torch.tensor(step_length, dtype=shares.dtype, device=shares.device)
    # Without a repel term its share is zero whatever stands in the worst's place: w is not read.
    worst = swarm.global_worst if coefficients.repel else swarm.global_best
    matrices = (swarm.positions, swarm.velocities, swarm.personal_bests)
    dimensions = swarm.positions.shape[1]
    count = (dimensions - 1) // BLOCK  # something is always left: with whole rows it would be another kernel
    if count < 2:
        count = 0
    whole, rest = slice(0, count * BLOCK), slice(count * BLOCK, dimensions)
    if count:
        rows = (matrix[:, whole].unflatten(1, (count, BLOCK)).transpose(0, 1) for matrix in matrices)
        _run(*rows, *(row[whole].view(count, 1, BLOCK) for row in (swarm.global_best, worst)), shares, length)
    move_block(swarm, shares.tolist(), step_length, rest)  # less than two blocks are not worth another kernel


def worth_compiling(positions: Tensor) -> bool:
    """Tell whether the fused kernel saves more time in 50 iterations than compiling it takes.

    Measured on two cores: compiling takes 5 to 25 seconds, and the kernel saves about 80 ms in 10^8 numbers.

    Args:
        positions: Positions [N, D].

    Returns:
        True from 2^28 numbers on, on any machine.
    """
    return positions.numel() >= WORTH_COMPILING


@torch.no_grad()  # a kernel is compiled for one mode
def _run(*arguments: Tensor) -> None:
    try:
        _compiled()(*arguments)
    except CompileError as error:
        raise _failure(error) from error


def _move_blocks(
    positions: Tensor,
    velocities: Tensor,
    personal_bests: Tensor,
    best: Tensor,
    worst: Tensor,
    shares: Tensor,
    length: Tensor,
) -> None:
    # Matrices [blocks, N, weights], best and worst [blocks, 1, weights], shares [N, 4].
    inertia, cognitive, social, repel = shares.unsqueeze(2).unbind(1)
    velocities.mul_(inertia)
    velocities.add_(cognitive * (personal_bests - positions))
    velocities.add_(social * (best - positions))
    velocities.add_(repel * (positions - worst))
    positions.add_(length * velocities)


@cache
def _compiled() -> Callable[..., None]:
    # Sizes and strides stay symbols, so that another N or D is not compiled again. The loops keep the order of the
    # arguments' dimensions, blocks, particles, weights of a block; left alone, torch puts the particles outside, and g
    # and w come from memory for each of them (measured on two busy cores: 76 ms instead of 56).
    return compile_in_order(_move_blocks)


def _failure(error: RuntimeError) -> KernelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0].rstrip(".") if lines else type(error).__name__
    return KernelError(
        f"Expected torch.compile to make the fused kernel of the move, but it failed: {reason}. "
        "Install what is missing (on a CPU a C++ compiler), or set kernel to 'plain'."
    )
