"""The parts of a search that are loaded: the space of its experts, the resident model, and what asks it.

Everything the user gave is checked here or in the parts, before any long work starts. What searches of one process may
share is handed in: see `Sharing`.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.objectives.protocol import Objective, RepliesOnly
from swarm_lightning.search.settings import SearchSettings
from swarm_lightning.swarm.space import Circumstances, Material, Space
from swarm_lightning.swarm.spaces import SPACES
from swarm_lightning.swarm.spaces.rows_on_disk import rows_folder
from swarm_lightning.vectors import Vectors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.evaluation.evaluator import Evaluation, Evaluator
    from swarm_lightning.experts.resident import ResidentModel

MMAP_THRESHOLD = -3  # the number of this option in malloc.h
LARGE_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Resident:
    """What is loaded once.

    Attributes:
        adapted: The base as the model that becomes particles: by adapters, or by all of its weights.
        tokenizer: The base's.
        fingerprint: What tells the base from others.
    """

    adapted: "ResidentModel"
    tokenizer: "PreTrainedTokenizerBase"
    fingerprint: str


@dataclass(frozen=True)
class Asked:
    """What the scores of a position depend on beside the position.

    Attributes:
        objective: What is asked.
        identity: What makes the search this one.
        seed: Its seed, which sampled replies are drawn by.
        dtype: Data type of the base.
        device: Type of the device.
    """

    objective: Objective
    identity: Mapping[str, Any]
    seed: int | None
    dtype: str
    device: str


class Sharing(Protocol):
    """What a search leaves to others that it may share with: what is loaded, what was measured, what was asked."""

    def resident(self, key: object, load: Callable[[], Resident]) -> Resident:
        """Return what a search needs loaded.

        Args:
            key: What tells it from what other searches need.
            load: Loads it.
        """

    def measure(self, asked: Asked, measure: Callable[[], None]) -> None:
        """Have the objective measure what it needs on the base, or give it what was measured.

        Args:
            asked: What that depends on.
            measure: Measures it.
        """

    def first_scores(self, asked: Asked, positions: Vectors, ask: Callable[[Tensor], "Evaluation"]) -> "Evaluation":
        """Score first positions.

        Args:
            asked: What their scores depend on.
            positions: Of N particles.
            ask: Asks those of a mask [N] bool.
        """

    def held_back(self, test: Sequence[Example]) -> Sequence[Example]:
        """Return what of a test split a search is scored on when it has ended."""


class Alone:
    """Shares nothing."""

    def resident(self, key: object, load: Callable[[], Resident]) -> Resident:
        """Load."""
        return load()

    def measure(self, asked: Asked, measure: Callable[[], None]) -> None:
        """Measure."""
        measure()

    def first_scores(self, asked: Asked, positions: Vectors, ask: Callable[[Tensor], "Evaluation"]) -> "Evaluation":
        """Ask all."""
        return ask(torch.ones(len(positions), dtype=torch.bool))

    def held_back(self, test: Sequence[Example]) -> Sequence[Example]:
        """Return all of it."""
        return test


def base_of(settings: SearchSettings, pool: Pool) -> str:
    """Return folder or hub id of the base model: the one that was named, or the first of the full checkpoints.

    Raises:
        InputError: If none was named and the experts are adapters.
    """
    base = settings.base if settings.base is not None else pool.base
    if base is None:
        raise InputError(
            "Expected model.base to name the base model that the adapters belong to, but it is not set. Give its "
            "folder or hub id."
        )
    return base


def space_of(settings: SearchSettings, pool: Pool, run: Path) -> Space:
    """Make the space that a search's positions lie in.

    Args:
        settings: Of the search.
        pool: The experts.
        run: The run folder.
    """
    needed = settings.start.kind != "experts" or settings.draws == "coefficient"
    base = pool.base_vector(settings.base) if needed and settings.base is not None else None
    material = Material(
        experts=[pool.vector(index) for index in range(len(pool.names))],
        sizes=pool.layout.sizes,
        base=base,
        differences=pool.are_differences,
        folder=rows_folder(run, settings.state_folder),
        run=run,
    )
    return SPACES[settings.space](material)


def check_circumstances(space: str, circumstances: Circumstances) -> None:
    """Refuse what a space does not go together with.

    Args:
        space: Its name.
        circumstances: Of the search.

    Raises:
        InputError: If there is any such thing; the same on all ranks.
    """
    with refusals():
        SPACES[space].check(circumstances)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what a space refuses in a `with` block into what the user can mend, the same on all ranks.

    Raises:
        InputError: If it refuses something.
    """
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        refusal = InputError(str(error))
        refusal.shared = True
        raise refusal from error


def return_freed_memory() -> None:
    """Have the C library give large blocks that are freed back to the system at once, for the rest of the process.

    glibc raises the size from which it does so with every such block, up to 32 MiB: what is made for one particle after
    the other then stays in the process. A search of 16 checkpoints of 127 MB peaked at 1.17 GB with that, and at 0.84
    GB without. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE_BLOCK)


def load_resident(settings: SearchSettings, pool: Pool, device: torch.device) -> Resident:
    """Load the base of a search and make it carry the experts.

    Args:
        settings: Of the search.
        pool: The experts.
        device: Where the base goes.

    Raises:
        InputError: If it can't be loaded, or the experts do not fit it.
    """
    from swarm_lightning.experts.base_model import base_fingerprint, load_base

    base = base_of(settings, pool)
    model, tokenizer = load_base(base, settings.dtype, device, settings.trust_remote_code)
    fingerprint = base_fingerprint(model)
    return Resident(pool.resident(model, base), tokenizer, fingerprint)


def make_evaluator(
    settings: SearchSettings,
    resident: Resident,
    objective: Objective,
    ranks: Ranks,
    splits: ExampleSplits | None,
    replies_only: bool,
) -> "Evaluator":
    """Make what asks, and check the examples that are known.

    Args:
        settings: Of the search.
        resident: The model.
        objective: What will be asked.
        ranks: The processes that share the work.
        splits: What will be asked, where that is known.
        replies_only: Whether replies are wanted, and no scores.

    Raises:
        InputError: If the objective can't serve the examples.
    """
    from swarm_lightning.evaluation.evaluator import Evaluator

    asked = [split for split in (splits.validation, splits.test) if split] if splits is not None else []
    for examples in asked:
        objective.check(examples, resident.tokenizer)
    if replies_only and isinstance(objective, RepliesOnly):
        objective = objective.replies_only()
    evaluator = Evaluator(resident.adapted, resident.tokenizer, objective, settings.engine, ranks)
    for examples in asked:
        evaluator.check_lengths(examples)
    return evaluator


def check_in_memory(settings: SearchSettings, experts: int) -> None:
    """Refuse to compare methods where the swarm lies on the disk: the others work on all experts at once, in memory.

    Args:
        settings: Of the search.
        experts: Number of experts n.

    Raises:
        InputError: If it does.
    """
    if settings.storage != "memory":
        copies = 3 * settings.particles + 2 + experts
        raise InputError(
            f"Expected model.storage to be memory to compare methods, which work on all experts at once, but got "
            f"{settings.storage}. Set it to memory if that holds about {copies} copies of an expert in float32 (3 for "
            "each of model.particles), or search with `swarm fit`, where the disk will do."
        )
