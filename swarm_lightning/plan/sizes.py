"""What a search takes of memory and disk, in bytes: by the shapes of what it holds, before it is there."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import torch

from swarm_lightning.evaluation.engine.memory import bytes_of_a_row, free_bytes
from swarm_lightning.evaluation.mixtures.model_groups import further_bytes
from swarm_lightning.search.prepared import PreparedSearch
from swarm_lightning.swarm.centre_search import CentreSearch
from swarm_lightning.swarm.space import Space

FLOAT = 4  # bytes of a weight of a particle
PROBE = 1 << 26  # bytes that the speed of memory and disk are measured with
# A move reads positions, velocities, personal bests, and the global best and worst, and writes two of them.
MOVED = 7


def held_rows(search: PreparedSearch) -> int:
    """Return how many rows a swarm holds: positions, velocities and personal bests, and the global best and worst."""
    if isinstance(search.movement, CentreSearch):
        return len(search.pool.names) + 5
    return 3 * search.settings.particles + 2


def memory_of(search: PreparedSearch, space: Space, rows: int, tokens: int) -> dict[str, int]:
    """Return the memory that a search takes beside Python and its libraries.

    Args:
        search: Rehearsed.
        space: Of its positions.
        rows: Rows of a forward pass.
        tokens: Tokens of the longest row.

    Returns:
        Bytes of the base, of further models where there are any (as many as may be there at a time), of the experts and
        of their products and their fit where there are such, of the swarm, of the particles that are taken up, and of a
        forward pass.
    """
    resident, layout = search.resident(), search.pool.layout
    model, weights = resident.model, sum(layout.sizes)
    position = space.empty(1)
    together = resident.most_particles or search.settings.particles
    settings, standings = search.settings, search.pool.standings
    experts = len(search.pool.names) * weights * FLOAT if search.pool.are_differences else 0
    further = {}
    # Where candidates are coefficients, what is taken up are the products of the experts, one time for all particles.
    products = {"products": search.bytes_of_products} if search.bytes_of_products else {}
    fit = {"fit of the experts": search.bytes_of_fit} if search.refits else {}
    if standings:
        experts = sum(standing.adapters.vectors.numel() for standing in standings) * FLOAT
        further = {"further models": further_bytes(standings, settings.dtype, settings.engine.models)}
    return {
        "base": sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()),
        **further,
        "experts": experts,
        **products,
        **fit,
        "swarm": held_rows(search) * position.numel() * position.element_size(),
        "particles": together * (position.numel() if products else weights) * FLOAT,
        "forward pass": rows * bytes_of_a_row(model, tokens),
    }


def disk_of(search: PreparedSearch, space: Space, iterations: int, examples: int) -> dict[str, int]:
    """Return what a run folder takes at most.

    Args:
        search: Rehearsed.
        space: Of its positions.
        iterations: Iterations at most.
        examples: Number of validation examples M.

    Returns:
        Bytes of the checkpoint (twice, while one takes the place of another), of rows on the disk, of the found expert,
        and of the histories.
    """
    position, weights = space.empty(1), sum(search.pool.layout.sizes)
    particles = search.settings.particles
    return {
        "checkpoint": 2 * (held_rows(search) * position.numel() * position.element_size() + search.bytes_of_fitted),
        "rows": (5 * particles + 2) * weights * FLOAT if space.writes else 0,
        # A sum of products has the rank of all experts together.
        "best expert": (len(search.pool.names) if search.bytes_of_products else 1) * weights * FLOAT,
        "histories": (iterations + 1) * particles * (8 * examples + 800),
    }


def free_space(folder: Path) -> int:
    """Return the free bytes of the disk on which a folder lies, or will lie."""
    return shutil.disk_usage(_existing(folder)).free


def free_memory(search: PreparedSearch) -> int:
    """Return the free bytes of the memory of the model's device."""
    return free_bytes(search.resident().model.device)


def step_seconds(search: PreparedSearch, space: Space, folder: Path, saves: bool) -> float:
    """Return how long an iteration takes beside its questions: the move, and the checkpoint where it is of any size.

    Memory and disk are measured on 64 MB.

    Args:
        search: Rehearsed.
        space: Of its positions.
        folder: Of the runs.
        saves: Whether every iteration is saved.
    """
    position = space.empty(1)
    numbers = search.settings.particles * (sum(search.pool.layout.sizes) if space.writes else position.numel())
    moved, saved = MOVED * numbers * FLOAT, held_rows(search) * position.numel() * position.element_size()
    per_byte = _seconds_to_write(folder) if space.writes and moved > PROBE else 0.0
    seconds = moved * (per_byte or _seconds_to_copy()) if moved > PROBE else 0.0
    if saves and saved > PROBE:
        seconds += saved * (per_byte or _seconds_to_write(folder))
    return seconds


def _seconds_to_copy() -> float:
    """Return seconds per byte that memory takes to be read and written."""
    source = torch.ones(PROBE // FLOAT)
    target = torch.empty_like(source)
    target.copy_(source)
    started = time.perf_counter()
    target.copy_(source)
    return (time.perf_counter() - started) / (2 * PROBE)


def _seconds_to_write(folder: Path) -> float:
    """Return seconds per byte that the disk takes to be written."""
    with tempfile.NamedTemporaryFile(dir=_existing(folder), prefix=".swarm-plan-") as file:
        content = os.urandom(1 << 20)
        started = time.perf_counter()
        for _ in range(PROBE >> 20):
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return (time.perf_counter() - started) / PROBE


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return folder if folder.is_dir() else next(parent for parent in folder.parents if parent.is_dir())
