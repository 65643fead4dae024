"""Writes what was found in the form of its pool: a PEFT adapter folder, a full checkpoint, or a mixture of models."""

from collections.abc import Callable
from pathlib import Path

from swarm_lightning.experts.export.adapter import export_adapter, write_adapter
from swarm_lightning.experts.export.checkpoint import SHARD, export_checkpoint
from swarm_lightning.experts.export.mixture import export_mixture
from swarm_lightning.experts.kinds import Pool
from swarm_lightning.experts.model_pool import ModelPool
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.products.adapter import ProductAdapter
from swarm_lightning.experts.resident.resident import ResidentModel
from swarm_lightning.vectors import Vector


def export_expert(
    folder: Path,
    weights: Vector | ProductAdapter,
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
        weights: The weights [D], or an adapter of another form than the experts'.
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
    if isinstance(weights, ProductAdapter):
        return write_adapter(folder, weights.tensors, weights.config, card, overwrite, base)
    if isinstance(pool, ModelPool):
        assert pool.mixture is not None  # models that each answer alone are exported as a system
        return export_mixture(folder, weights[:], pool, pool.mixture, source, dtype, card, overwrite)
    if isinstance(pool, ExpertPool):
        return export_adapter(folder, weights[:], pool, card, overwrite, base=base)
    return export_checkpoint(folder, weights, resident(), source, card, overwrite, max_shard_size, trust_remote_code)
