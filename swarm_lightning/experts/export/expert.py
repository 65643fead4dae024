"""Writes weights in the form of their pool: as a PEFT adapter folder, a full checkpoint, or a mixture of models."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm_lightning.experts.export.adapter import export_adapter
from swarm_lightning.experts.export.checkpoint import SHARD, export_checkpoint
from swarm_lightning.experts.export.mixture import export_mixture
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.experts.resident.resident import ResidentModel
from swarm_lightning.vectors import ADAPTER, CHECKPOINT, MIXTURE, Vector


@dataclass(frozen=True)
class _Place:
    """Where weights go, and what goes there with them; see `export_expert`."""

    folder: Path
    card: str
    base: str
    source: str
    resident: Callable[[], ResidentModel]
    overwrite: bool
    max_shard_size: str
    trust_remote_code: bool
    dtype: str


def _adapter(weights: Vector, pool: Any, to: _Place) -> Path:
    return export_adapter(to.folder, weights[:], pool, to.card, to.overwrite, base=to.base)


def _checkpoint(weights: Vector, pool: Any, to: _Place) -> Path:
    return export_checkpoint(
        to.folder, weights, to.resident(), to.source, to.card, to.overwrite, to.max_shard_size, to.trust_remote_code
    )


def _mixture(weights: Vector, pool: Any, to: _Place) -> Path:
    return export_mixture(to.folder, weights[:], pool, pool.mixture, to.source, to.dtype, to.card, to.overwrite)


# By the form of the experts: each takes a pool whose experts have it. Models that each answer alone are exported as a
# system, which names them where they are.
OF_EXPERTS: dict[str, Callable[[Vector, Any, _Place], Path]] = {
    ADAPTER: _adapter,
    CHECKPOINT: _checkpoint,
    MIXTURE: _mixture,
}


def export_expert(
    folder: Path,
    weights: Vector,
    pool: Pool,
    card: str,
    base: str,
    source: str,
    resident: Callable[[], ResidentModel],
    overwrite: bool = False,
    max_shard_size: str = SHARD,
    trust_remote_code: bool = False,
    dtype: str = "auto",
) -> Path:
    """Write weights with a model card.

    Args:
        folder: Where they go.
        weights: The weights [D], of the form of the experts.
        pool: The experts that they were made of.
        card: Content of README.md.
        base: Folder or hub id of the base that an adapter names.
        source: The same of the base whose tokenizer a checkpoint gets.
        resident: Gives the resident model, which takes up the weights of a checkpoint.
        overwrite: Whether an existing folder may be replaced. It stays as it was until the new one is complete.
        max_shard_size: Size of a weight file of a checkpoint at most.
        trust_remote_code: Whether code that comes with the base's tokenizer may run.
        dtype: Data type that models of a mixture are loaded in.

    Returns:
        The folder.

    Raises:
        InputError: If the folder exists and `overwrite` is off, or can't be written; nothing is left behind then.
        ValueError: If the weights are not finite.
    """
    place = _Place(folder, card, base, source, resident, overwrite, max_shard_size, trust_remote_code, dtype)
    return OF_EXPERTS[pool.form](weights, pool, place)
