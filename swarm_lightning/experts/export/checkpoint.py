"""Writes a particle as a full checkpoint that `from_pretrained` loads: what was evaluated, bit for bit.

The particle's weights are taken up by the resident model, rounded to its dtype as for an evaluation, and the model is
saved by transformers: shards of safetensors, tied weights once, config and generation config. The tokenizer is the
base's, as it stands there.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from swarm_lightning.experts.adapters import CARD_FILE
from swarm_lightning.experts.export.adapter import new_folder
from swarm_lightning.experts.resident.base_model import load_tokenizer
from swarm_lightning.experts.sources import local_folder
from swarm_lightning.vectors import Vector, windows

if TYPE_CHECKING:
    from swarm_lightning.experts.resident.resident import ResidentModel

SHARD = "2GB"


def export_checkpoint(
    folder: Path,
    vector: Vector,
    resident: "ResidentModel",
    base: str,
    card: str,
    overwrite: bool = False,
    max_shard_size: str = SHARD,
    trust_remote_code: bool = False,
) -> Path:
    """Write a checkpoint folder: weights, config, generation config, tokenizer and model card.

    Args:
        folder: Where it goes; its parents are made.
        vector: Weights [D].
        resident: The resident model, which takes them up.
        base: Folder or hub id of the base, whose tokenizer is written.
        card: Content of README.md.
        overwrite: Whether an existing folder may be replaced. It stays as it was until the new one is complete.
        max_shard_size: Size of a weight file at most, `2GB` for example.
        trust_remote_code: Whether code that comes with the base's tokenizer may run.

    Returns:
        The folder.

    Raises:
        InputError: If the folder exists and `overwrite` is off, or can't be written; nothing is left behind then.
        ValueError: If the weights are not finite.
    """
    from safetensors import SafetensorError

    for start, stop in windows(0, len(vector)):
        if not torch.isfinite(vector[start:stop]).all():
            raise ValueError(f"Expected finite weights to export, but some of {start} to {stop} are NaN or infinite.")
    located = local_folder(base, "a base model", bare_names=True)
    with new_folder(folder, overwrite, "checkpoint") as partial:
        resident.load([vector])
        try:
            resident.model.save_pretrained(partial, max_shard_size=max_shard_size)
        except SafetensorError as cause:  # its word for an input/output error
            raise OSError(str(cause)) from cause
        finally:
            resident.unload()
        place = base if located is None else str(located)
        load_tokenizer(place, trust_remote_code, located is None).save_pretrained(partial)
        (partial / CARD_FILE).write_text(card, encoding="utf-8")
    return folder
