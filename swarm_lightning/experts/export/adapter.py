"""Writes a particle as a PEFT adapter folder that `PeftModel.from_pretrained` loads, whole or not at all.

How a folder appears whole is in `swarm_lightning/files.py`. The tensors bear the names of the experts' files and are
float32.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.files import whole_folder


def export_adapter(
    folder: Path, vector: Tensor, pool: ExpertPool, card: str, overwrite: bool = False, base: str | None = None
) -> Path:
    """Write an adapter folder: weights, config and model card.

    Args:
        folder: Where it goes; its parents are made.
        vector: Weights [D] of any floating dtype, on any device; written as float32.
        pool: The experts, for the names of the tensors and the shared config.
        card: Content of README.md.
        overwrite: Whether an existing folder may be replaced. It stays as it was until the new one is complete.
        base: What goes into the config as the base's path or hub id; what the first expert names where absent.

    Returns:
        The folder.

    Raises:
        InputError: If the folder exists and `overwrite` is off, or can't be written; nothing is left behind then.
        ValueError: If the vector is not of shape [D], or not finite.
    """
    tensors = pool.layout.unflatten(vector.detach().to("cpu", torch.float32))
    return write_adapter(folder, tensors, pool.config, card, overwrite, base)


def write_adapter(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    card: str,
    overwrite: bool = False,
    base: str | None = None,
) -> Path:
    """Write tensors as an adapter folder; see `export_adapter`.

    Args:
        folder: Where it goes; its parents are made.
        tensors: By their names in an adapter's file, float32 on the CPU.
        config: Content of `adapter_config.json` that fits them.
        card: Content of README.md.
        overwrite: Whether an existing folder may be replaced.
        base: What goes into the config as the base's path or hub id; what it names already where absent.

    Returns:
        The folder.

    Raises:
        InputError: If the folder exists and `overwrite` is off, or can't be written; nothing is left behind then.
        ValueError: If a tensor is not finite.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"Expected finite weights to export, but {name!r} holds NaN or infinity.")
    config = {**config, "inference_mode": True}
    if base is not None:
        config["base_model_name_or_path"] = base
    with new_folder(Path(folder), overwrite, "adapter") as partial:
        _write_files(partial, {name: tensor.clone() for name, tensor in tensors.items()}, config, card)
    return Path(folder)


@contextmanager
def new_folder(folder: Path, overwrite: bool, what: str) -> Iterator[Path]:
    """Lend a hidden folder that takes the place of `folder` when the `with` block has filled it.

    Args:
        folder: Where it goes; its parents are made.
        overwrite: Whether an existing folder may be replaced.
        what: What is written, for messages.

    Raises:
        InputError: If the folder exists and `overwrite` is off, or can't be written; nothing is left behind then.
    """
    if folder.exists() and not overwrite:
        raise InputError(
            f"Expected a new folder for the {what}, but {str(folder)!r} exists. Choose another name, or allow it to "
            "be overwritten."
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"Expected a folder to overwrite with the {what}, but {str(folder)!r} is a file.")
    try:
        with whole_folder(folder) as partial:
            yield partial
    except OSError as cause:
        raise InputError(
            f"Expected to write the {what} to {str(folder)!r}, but: {cause}. Free some space or choose another place."
        ) from cause


def _write_files(folder: Path, tensors: dict[str, Tensor], config: dict[str, object], card: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    except SafetensorError as cause:  # its word for an input/output error
        raise OSError(str(cause)) from cause
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
