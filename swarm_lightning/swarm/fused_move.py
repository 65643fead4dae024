"""The move of `rules.py` as one fused kernel: every number is read once and written once.

`rules.move` makes seven passes over a block that lies in the cache; here `torch.compile` makes one of them, and the
memory's bandwidth is what limits it. The numbers are those of `rules.move` to rounding. Compiling takes about ten
seconds, once in a process, for any number of particles and weights, any coefficients and any step length.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from swarm_lightning.swarm.rules import Coefficients
from swarm_lightning.swarm.state import Swarm

# Weights of one call. The block's parts of g and w (8 bytes a weight) stay in the last cache while all particles pass;
# a call costs about 50 microseconds.
CPU_BLOCK = 262_144
GPU_BLOCK = 1_048_576
WORTH_COMPILING = 2**28  # numbers N x D

Kernel = Literal["auto", "compiled", "plain"]


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
    dimensions = swarm.positions.shape[1]
    size = _block_size(dimensions, CPU_BLOCK if swarm.positions.device.type == "cpu" else GPU_BLOCK)
    kernel = _compiled()
    with torch.no_grad():  # a kernel is compiled for one mode
        for start in range(0, dimensions, size):
            block = slice(start, min(start + size, dimensions))
            matrices = (tensor[:, block] for tensor in (swarm.positions, swarm.velocities, swarm.personal_bests))
            try:
                kernel(*matrices, swarm.global_best[block], worst[block], shares, length)
            except torch._dynamo.exc.TorchDynamoException as error:  # what compiling raises, before the kernel runs
                raise _failure(error) from error


def worth_compiling(positions: Tensor) -> bool:
    """Tell whether the fused kernel saves more time in 50 iterations than compiling it takes.

    Measured on two cores: compiling takes 5 to 25 seconds, and the kernel saves about 80 ms in 10^8 numbers.

    Args:
        positions: Positions [N, D].

    Returns:
        True from 2^28 numbers on, on any machine.
    """
    return positions.numel() >= WORTH_COMPILING


def _block_size(dimensions: int, largest: int) -> int:
    """Return a size that makes all blocks about equal: a last block of one weight would be compiled anew."""
    count = max(1, -(-dimensions // largest))
    return min(largest, -(-dimensions // (64 * count)) * 64)


def _move_block(
    positions: Tensor,
    velocities: Tensor,
    personal_bests: Tensor,
    best: Tensor,
    worst: Tensor,
    shares: Tensor,
    length: Tensor,
) -> None:
    inertia, cognitive, social, repel = shares.unsqueeze(2).unbind(1)
    velocities.mul_(inertia)
    velocities.add_(cognitive * (personal_bests - positions))
    velocities.add_(social * (best - positions))
    velocities.add_(repel * (positions - worst))
    positions.add_(length * velocities)


@cache
def _compiled() -> Callable[..., None]:
    # Sizes and strides stay symbols, so that neither another D nor a shorter last block is compiled again. What is
    # compiled twice is one block (its rows lie next to each other) and many.
    try:
        return torch.compile(_move_block, fullgraph=True, dynamic=True)
    except RuntimeError as error:  # this Python or this system has no torch.compile
        raise _failure(error) from error


def _failure(error: RuntimeError) -> KernelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0].rstrip(".") if lines else type(error).__name__
    return KernelError(
        f"Expected torch.compile to make the fused kernel of the move, but it failed: {reason}. "
        "Install what is missing (on a CPU a C++ compiler), or set kernel to 'plain'."
    )
