"""One iteration of the method, rule by rule: restart, move, draw what is evaluated, remember the bests, stop.

Every rule is a free function that updates a `Swarm` in place and takes its random numbers as an argument. What a
utility is, where it is computed and when a rule is called is left to others. Source: arXiv:2410.11163, Algorithm 1,
and the authors' code, which settles what the text leaves open (first of equals among the best, what counts as
stagnation). `remember` says where it departs from that code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from swarm_lightning.swarm.state import Swarm
from swarm_lightning.threads import in_threads

# Floats of one block: its parts of x, v, p, g, w and of a buffer (128 KiB each) stay in a core's cache. It is also the
# most that torch does on one thread: with larger blocks it splits every single operation, and wherever another process
# holds a core, the threads wait for each other in each of them (measured: 1000 ms instead of 175).
BLOCK = 32_768
GPU_BLOCK = 4_194_304  # a GPU wants few and large operations


@dataclass(frozen=True)
class Coefficients:
    """Non-negative, unitless weights of the four terms of a velocity; 0 switches a term off."""

    inertia: float
    cognitive: float
    social: float
    repel: float

    def __post_init__(self) -> None:
        values = [self.inertia, self.cognitive, self.social, self.repel]
        if not all(value >= 0 and value < float("inf") for value in values):
            raise ValueError(f"Expected inertia, cognitive, social and repel to be finite and >= 0, but got {self}.")
        if sum(values) == 0:
            raise ValueError(f"Expected at least one coefficient above zero, but got {self}: no particle would move.")

    def weigh(self, draws: Tensor) -> Tensor:
        """Return the share of each term in a particle's new velocity.

        Args:
            draws: Numbers in [0, 1], [..., 4]: for each particle, for inertia, cognitive, social and repel.

        Returns:
            Shares [..., 4] float64; the four of a particle sum to one.

        Raises:
            ValueError: If four drawn weights sum to zero.

        >>> Coefficients(0.2, 0.2, 0.4, 0.2).weigh(torch.ones(1, 4)).tolist()
        [[0.2, 0.2, 0.4, 0.2]]
        """
        weights = draws.double() * torch.tensor(
            [self.inertia, self.cognitive, self.social, self.repel], dtype=torch.float64, device=draws.device
        )
        total = weights.sum(dim=-1, keepdim=True)
        if not (total > 0).all():
            raise ValueError(f"Expected every particle's drawn weights to have a sum above zero, but got {total}.")
        return weights / total


def stagnant(swarm: Swarm, patience: int) -> Tensor:
    """Tell which particles have waited long enough for a new personal best to be restarted.

    Args:
        swarm: The swarm before an iteration.
        patience: Restart patience in iterations, >= 1.

    Returns:
        Mask [N] bool.
    """
    return swarm.stagnation >= patience


def restart(swarm: Swarm, particles: Tensor, cool_down: bool = False) -> None:
    """Put particles back on their personal best, at rest.

    Args:
        swarm: Positions and velocities of the chosen particles are updated in place.
        particles: Mask [N] bool of the particles to restart.
        cool_down: Whether the wait for the next restart begins anew. The published method keeps counting, so a stuck
            particle restarts in every iteration until it improves.
    """
    for index in particles.nonzero().flatten().tolist():
        swarm.positions[index].copy_(swarm.personal_bests[index])
        swarm.velocities[index].zero_()
    swarm.restarts.add_(particles)
    if cool_down:
        swarm.stagnation.masked_fill_(particles, 0)


def move(
    swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float, sizes: Sequence[int] | None = None
) -> None:
    """Pull every particle towards its own best and the swarm's best, and push it away from the worst.

    Args:
        swarm: Positions and velocities [N, D]; both are updated in place.
        draws: Numbers in [0, 1], [N, 4]: one per particle for inertia, cognitive, social and repel; with groups of
            weights [N, G, 4].
        coefficients: Non-negative weights of the four terms, unitless.
        step_length: Fraction of the new velocity that is travelled, > 0.
        sizes: How many of the D weights each of the G groups has, one group after the other; None for one of all.

    Raises:
        ValueError: If the four drawn weights of a particle sum to zero.

    Source: arXiv:2410.11163, Algorithm 1; there is one group.
    """
    particles, dimensions = swarm.positions.shape
    sizes = [dimensions] if sizes is None else sizes
    shares = coefficients.weigh(draws.view(particles, len(sizes), 4)).transpose(0, 1).tolist()
    ends = list(accumulate(sizes))
    pieces = [
        (share, block)
        for share, size, end in zip(shares, sizes, ends, strict=True)
        for block in blocks_of(swarm.positions, end - size, end)
    ]
    threads = min(len(pieces), torch.get_num_threads()) if swarm.positions.device.type == "cpu" else 1
    if threads < 2 or dimensions <= BLOCK:
        for piece in pieces:
            _move_piece(swarm, step_length, piece)
        return
    # A block is nobody else's, so their order does not matter.
    in_threads(partial(_move_piece, swarm, step_length), pieces, threads)


def _move_piece(swarm: Swarm, step_length: float, piece: tuple[list[list[float]], slice]) -> None:
    shares, block = piece
    move_block(swarm, shares, step_length, block)


def move_block(swarm: Swarm, shares: list[list[float]], step_length: float, block: slice) -> None:
    """Move all particles in some of their weights.

    Args:
        swarm: Positions and velocities [N, D]; both are updated in place.
        shares: The shares of inertia, cognitive, social and repel of every particle.
        step_length: Fraction of the new velocity that is travelled, > 0.
        block: Which of the D weights.
    """
    best, worst = swarm.global_best[block], swarm.global_worst[block]
    difference = torch.empty_like(best)
    # One call makes the views of all particles: indexing each costs as much as an operation on a block.
    rows = (tensor[:, block].unbind() for tensor in (swarm.positions, swarm.velocities, swarm.personal_bests))
    for position, velocity, personal_best, share in zip(*rows, shares, strict=True):
        inertia, cognitive, social, repel = share
        velocity.mul_(inertia)
        velocity.add_(torch.sub(personal_best, position, out=difference), alpha=cognitive)
        velocity.add_(torch.sub(best, position, out=difference), alpha=social)
        if repel:
            velocity.add_(torch.sub(position, worst, out=difference), alpha=repel)
        position.add_(velocity, alpha=step_length)


def blocks_of(positions: Tensor, start: int = 0, stop: int | None = None) -> list[slice]:
    """Cut weights into the blocks that are worked on one after the other.

    Args:
        positions: Positions [N, D].
        start: The first of the D weights.
        stop: Behind the last of them; None for all.

    Returns:
        Slices of these weights, in order.
    """
    size = BLOCK if positions.device.type == "cpu" else GPU_BLOCK
    stop = positions.shape[1] if stop is None else stop
    return [slice(begin, min(begin + size, stop)) for begin in range(start, stop, size)]


def due(particles: int, drop_iteration: float, drop_particle: float, generator: torch.Generator) -> Tensor:
    """Draw which particles an iteration evaluates.

    Args:
        particles: Number of particles N.
        drop_iteration: Probability in [0, 1) that no particle of the iteration is evaluated (drop-K).
        drop_particle: Probability in [0, 1) that a single particle is not evaluated (drop-N).
        generator: Source of the random numbers; N + 1 of them are drawn whatever the probabilities are.

    Returns:
        Mask [N] bool.

    Source: arXiv:2410.11163, drop-K and drop-N.
    """
    numbers = torch.rand(particles + 1, dtype=torch.float64, generator=generator)
    return (numbers[1:] >= drop_particle) & (numbers[0] >= drop_iteration)


def remember(swarm: Swarm, utilities: Tensor, evaluated: Tensor, track_worst: bool = True) -> None:
    """Take in the utilities of the positions that have just been reached.

    A personal best, the global best and the global worst change on strict improvement only, ties keep the older, and
    the first particle in order wins among equals. A particle that was not evaluated keeps its last utility. A utility
    that is not finite never becomes a best or a worst.

    Departure: among several particles that reach a new lowest utility in the same iteration, the published loop goes on
    past the first of them, so that the last in order becomes the global worst (of the first positions the first, as
    here). Here it is the first, as for the best. Searches with such a tie are repelled from another point.

    Args:
        swarm: Bests, worst, utilities and counters are updated in place.
        utilities: Utilities of the current positions [N]; ignored where not evaluated.
        evaluated: Mask [N] bool of the particles that were evaluated.
        track_worst: Whether a lower utility becomes the global worst. Without a repel term nothing is moved by it:
            False leaves it and its utility as they are, and then no rule depends on how low a utility was.

    Source: arXiv:2410.11163, Algorithm 1; BunsenFeng/model_swarm, search.py, "global worst update" for the departure.
    """
    swarm.utilities.copy_(torch.where(evaluated, utilities.to(swarm.utilities), swarm.utilities))
    known = evaluated & swarm.utilities.isfinite()
    highs = swarm.utilities.masked_fill(~known, -torch.inf)
    lows = swarm.utilities.masked_fill(~known, torch.inf)

    improved = highs > swarm.personal_best_utilities
    for index in improved.nonzero().flatten().tolist():
        swarm.personal_bests[index].copy_(swarm.positions[index])
    swarm.personal_best_utilities.copy_(torch.maximum(highs, swarm.personal_best_utilities))
    swarm.stagnation.add_(1).masked_fill_(improved, 1)

    swarm.plateau.add_(1)
    best, worst = int(highs.argmax()), int(lows.argmin())
    if highs[best] > swarm.global_best_utility:
        swarm.global_best.copy_(swarm.positions[best])
        swarm.global_best_utility.copy_(highs[best])
        swarm.best_particle.fill_(best)
        swarm.plateau.fill_(1)
    if track_worst and lows[worst] < swarm.global_worst_utility:
        swarm.global_worst.copy_(swarm.positions[worst])
        swarm.global_worst_utility.copy_(lows[worst])
    swarm.iterations.add_(1)


def exhausted(swarm: Swarm, patience: int) -> bool:
    """Tell whether the search should stop because the global best has stopped rising.

    Args:
        swarm: The swarm before an iteration.
        patience: How many values of the global best's utility must be equal, >= 1; the one before the first
            iteration counts.

    Returns:
        True if more than `patience` values exist and the last `patience` of them are equal.

    Source: the authors' code, `search.py`.
    """
    return int(swarm.iterations) + 1 > patience and int(swarm.plateau) >= patience


def best_of(utilities: Tensor) -> int:
    """Return the place of the highest utility [P], the first of equals; one that is not finite counts lowest.

    >>> best_of(torch.tensor([torch.inf, 0.5, torch.nan, 0.75, 0.75]))
    3
    """
    return int(utilities.masked_fill(~utilities.isfinite(), -torch.inf).argmax())


def diversity(positions: Tensor) -> float:
    """Measure how far the particles are spread.

    Args:
        positions: Positions [N, D].

    Returns:
        The root mean square distance of the particles from their centre, in units of a weight times sqrt(D).

    >>> diversity(torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
    1.0
    """
    squares = torch.zeros((), dtype=torch.float64, device=positions.device)
    for block in blocks_of(positions):
        squares += squared_distances(positions[:, block])
    return float(squares / positions.shape[0]) ** 0.5


def squared_distances(positions: Tensor) -> Tensor:
    """Add up the squared distances of the particles from their centre.

    Args:
        positions: Positions in a block of the weights [N, B].

    Returns:
        A scalar float64.
    """
    centre = positions.mean(dim=0)
    difference = torch.empty_like(centre)
    squares = torch.zeros((), dtype=torch.float64, device=positions.device)
    for position in positions:
        squares += torch.sub(position, centre, out=difference).square_().sum(dtype=torch.float64)
    return squares
