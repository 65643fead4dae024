"""What is computed with the weights of a swarm that lies in rows on the disk: window by window, nothing of size D.

The numbers are bit for bit those of the same swarm in memory: a window of all particles is one small swarm, which the
rules of `rules.py` and `population.py` move. New positions and velocities are written into new rows, and only when all
are complete does the swarm hold them; whatever interrupts a move leaves the swarm as it was.

An iteration reads 3 N D numbers and writes 2 N D of them, and the disk's bandwidth is what limits it: some windows are
read or written while another one is computed.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from queue import SimpleQueue
from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.swarm.population import FirstVelocity, blend, draw_children, draw_partners
from swarm_lightning.swarm.rows import ZERO, RowStore
from swarm_lightning.swarm.rules import BLOCK, Coefficients, blocks_of, move_block, squared_distances
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.threads import in_threads

NUMBERS = 1 << 22  # of one matrix in one window, 16 MiB, for any number of particles
THREADS = 3  # windows at a time
FEW = 8  # where particles are made one by one, windows are as if there were so many


class Survey(NamedTuple):
    """What one reading of all positions tells.

    Attributes:
        diversity: How far the particles are spread; see `rules.diversity`.
        finite: Which particles' weights are all finite [N] bool; see `broken.finite_rows`.
    """

    diversity: float
    finite: Tensor


def grow_rows(
    store: RowStore, experts: Iterable[int], particles: int, span: float, generator: torch.Generator
) -> Tensor:
    """Do what `population.grow_population` does.

    Args:
        store: Where the rows are.
        experts: Rows of the experts.
        particles: Number of particles N >= n.
        span: Upper end of the range of t.
        generator: Source of the random numbers.

    Returns:
        Rows of the positions [N, 1].
    """
    numbers = list(experts)
    parents = [store.row(number) for number in numbers]
    children = draw_children(len(numbers), particles, span, generator)
    made = store.create(len(children))

    def breed(window: slice) -> None:
        for number, (first, second, share) in zip(made, children, strict=True):
            child, other = parents[first][window], parents[second][window]
            for block in blocks_of(child.unsqueeze(0)):
                blend(child[block], other[block], share)
            store.write(number, window.start, child)

    _each(breed, _windows(store.size, FEW))
    return torch.tensor([[number] for number in [*numbers, *made]], dtype=torch.int64)


def first_velocity_rows(
    store: RowStore, positions: Tensor, utilities: Tensor, mode: FirstVelocity, generator: torch.Generator
) -> Tensor:
    """Do what `population.first_velocities` does.

    Args:
        store: Where the rows are.
        positions: Rows of the first positions [N, 1].
        utilities: Their utilities [N].
        mode: `random`, `zero` or `best`.
        generator: Source of the random numbers; used by `random` only.

    Returns:
        Rows of the velocities [N, 1].
    """
    count = positions.shape[0]
    partners = draw_partners(count, utilities, mode, generator)
    moving = [(index, partner) for index, partner in enumerate(partners) if partner is not None]
    rows, made = store.rows(positions), store.create(len(moving))

    def head(window: slice) -> None:
        for number, (index, partner) in zip(made, moving, strict=True):
            store.write(number, window.start, torch.sub(rows[partner][window], rows[index][window]))

    _each(head, _windows(store.size, FEW))
    velocities = torch.full_like(positions, ZERO)
    for number, (index, _) in zip(made, moving, strict=True):
        velocities[index] = number
    return velocities


def move_rows(store: RowStore, swarm: Swarm, draws: Tensor, coefficients: Coefficients, step_length: float) -> Survey:
    """Do what `rules.move` does: the swarm gets new rows for its positions and velocities.

    A particle that does not leave its personal best keeps the row of that.

    Args:
        store: Where the rows are.
        swarm: Its matrices are numbers of rows [N, 1]; positions and velocities are updated in place.
        draws: Numbers in [0, 1], [N, 4]: one per particle for inertia, cognitive, social and repel.
        coefficients: Non-negative weights of the four terms, unitless.
        step_length: Fraction of the new velocity that is travelled, > 0.

    Returns:
        What is to be known of the new positions.

    Raises:
        ValueError: If the four drawn weights of a particle sum to zero.
        StorageError: If the disk has no room for the new rows; nothing has moved then.
    """
    shares = coefficients.weigh(draws).tolist()
    count = len(shares)
    matrices = [store.rows(matrix) for matrix in (swarm.positions, swarm.velocities, swarm.personal_bests)]
    best, worst = (store.row(int(number)) for number in (swarm.global_best, swarm.global_worst))
    made = store.create(2 * count)
    still = [True] * count
    windows = _windows(store.size, count)

    def move_window(window: slice, held: Tensor) -> list[tuple[Tensor, Tensor]]:
        stacked = held[:, :, : window.stop - window.start]
        for matrix, rows in zip(stacked, matrices, strict=True):
            for values, row in zip(matrix, rows, strict=True):
                row.read(window.start, values)
        positions, velocities, personal_bests = stacked
        part = replace(
            swarm,
            positions=positions,
            velocities=velocities,
            personal_bests=personal_bests,
            global_best=best[window],
            global_worst=worst[window] if coefficients.repel else best[window],
        )
        seen = []
        for block in blocks_of(positions):
            move_block(part, shares, step_length, block)
            seen.append(_look(positions[:, block]))
        for index, number in enumerate(made):
            matrix = positions if index < count else velocities
            store.write(number, window.start, matrix[index % count])
        for index in range(count):
            if still[index] and not positions[index].equal(personal_bests[index]):
                still[index] = False
        return seen

    try:
        seen = _each(_with_memory(move_window, len(matrices), count, windows[0].stop), windows)
    except BaseException:
        store.remove(made)
        raise
    reached = torch.tensor(made, dtype=torch.int64).unsqueeze(1)
    for index in range(count):
        if still[index]:
            store.remove([made[index]])
            reached[index] = swarm.personal_bests[index].cpu()
    swarm.positions.copy_(reached[:count])
    swarm.velocities.copy_(reached[count:])
    return _sum_up(seen, count)


def survey_rows(store: RowStore, positions: Tensor) -> Survey:
    """Read all positions once.

    Args:
        store: Where the rows are.
        positions: Rows of the positions [N, 1].
    """
    rows = store.rows(positions)
    windows = _windows(store.size, len(rows))

    def measure(window: slice, held: Tensor) -> list[tuple[Tensor, Tensor]]:
        stacked = held[:, : window.stop - window.start]
        for values, row in zip(stacked, rows, strict=True):
            row.read(window.start, values)
        return [_look(stacked[:, block]) for block in blocks_of(stacked)]

    return _sum_up(_each(_with_memory(measure, len(rows), windows[0].stop), windows), len(rows))


def _windows(size: int, particles: int) -> list[slice]:
    """Cut the weights into windows of whole blocks, so that all particles' parts of one fit into memory."""
    width = max(NUMBERS // particles // BLOCK, 1) * BLOCK
    return [slice(start, min(start + width, size)) for start in range(0, size, width)]


def _each(
    work: Callable[[slice], list[tuple[Tensor, Tensor]] | None], windows: list[slice]
) -> list[tuple[Tensor, Tensor]]:
    """Work on windows, some at a time, and return what comes out of them in their order."""
    results: list[tuple[Tensor, Tensor]] = []
    for result in in_threads(work, windows, THREADS):
        results.extend(result or ())
    return results


def _with_memory(
    work: Callable[[slice, Tensor], list[tuple[Tensor, Tensor]]], *shape: int
) -> Callable[[slice], list[tuple[Tensor, Tensor]]]:
    """Lend memory of a shape to work on windows; made for every window anew, it would leave the process ever larger."""
    lent: SimpleQueue[Tensor] = SimpleQueue()
    for _ in range(THREADS):
        lent.put(torch.empty(shape))

    def work_with_memory(window: slice) -> list[tuple[Tensor, Tensor]]:
        held = lent.get()
        try:
            return work(window, held)
        finally:
            lent.put(held)

    return work_with_memory


def _look(positions: Tensor) -> tuple[Tensor, Tensor]:
    return squared_distances(positions), positions.isfinite().all(dim=1)


def _sum_up(seen: list[tuple[Tensor, Tensor]], particles: int) -> Survey:
    total, finite = torch.zeros((), dtype=torch.float64), torch.ones(particles, dtype=torch.bool)
    for squares, whole in seen:
        total += squares
        finite &= whole
    return Survey(float(total / particles) ** 0.5, finite)
