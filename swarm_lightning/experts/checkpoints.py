"""Finds and reads full checkpoints: folders with `config.json` and a whole model's weights as safetensors.

Only headers are read here; numbers are read when they are needed. Whether checkpoints fit each other is decided in
`architecture.py`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm_lightning.errors import InputError
from swarm_lightning.experts.naming import name_of
from swarm_lightning.experts.safetensors_files import (
    INDEX,
    PICKLED,
    SINGLE,
    StoredTensor,
    read_json_object,
    stored_tensors,
)
from swarm_lightning.experts.sources import download, local_folder
from swarm_lightning.experts.tokenizers.tokenizer_files import TOKENIZER_PARTS

CONFIG_FILE = "config.json"
HUB_FILES = ("config.json", "*.safetensors", INDEX, *TOKENIZER_PARTS)
PIECES = 1024  # of a file that make its fingerprint, 4 KiB each
PIECE = 4096


@dataclass(frozen=True)
class Checkpoint:
    """A whole model as its files hold it.

    Attributes:
        name: What it is called in tables and messages: its folder's name, or the hub id.
        source: The folder or hub id it was read from.
        folder: Where its files are.
        config: The content of `config.json`.
        tensors: Where each of its tensors lies, by the name in the file.
    """

    name: str
    source: str
    folder: Path
    config: dict[str, Any]
    tensors: dict[str, StoredTensor]


def holds_checkpoint(folder: Path) -> bool:
    """Tell whether a folder holds a whole model, or a part of one."""
    return (folder / CONFIG_FILE).exists() or holds_weights(folder)


def holds_weights(folder: Path) -> bool:
    """Tell whether a folder holds weights of a whole model, or a part of them."""
    return any((folder / name).exists() for name in (SINGLE, INDEX, *PICKLED))


def read_checkpoint(source: str, what: str = "a full checkpoint", name: str | None = None) -> Checkpoint:
    """Read config and headers of a full checkpoint.

    Args:
        source: Its folder, or a hub id, of which only config, safetensors and the tokenizer are fetched.
        what: What is looked for, for messages.
        name: What it is called; by its folder or hub id where absent.

    Raises:
        InputError: If something is missing, empty, truncated, pickled, quantised, or needs code of its own.
    """
    folder = local_folder(source, what, bare_names=True)
    name = name or (source if folder is None else name_of(folder))
    if folder is None:
        folder = download(source, HUB_FILES, what)
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"Expected {CONFIG_FILE} in the expert {name!r} ({str(folder)!r}), but it is not there. A full checkpoint "
            "is a folder as save_pretrained writes it: config and weights."
        )
    config = read_json_object(folder / CONFIG_FILE, name)
    if "auto_map" in config:
        raise InputError(
            f"Expected an architecture that transformers knows, but the expert {name!r} brings its own code (auto_map "
            "in config.json), which never runs for an expert. Leave it out, or use LoRA adapters on this model."
        )
    if config.get("quantization_config"):
        raise InputError(
            f"Expected plain weights, but the expert {name!r} is quantised (quantization_config in config.json): its "
            "numbers can't be moved one by one. Give the checkpoint before quantisation."
        )
    return Checkpoint(name, source, folder, config, stored_tensors(folder, name))


def fingerprint_of(checkpoint: Checkpoint) -> str:
    """Return SHA-256 in hex over 1024 pieces of every weight file, and all of a file of 4 MiB or less.

    Enough to tell one checkpoint from another in seconds, whatever its size and wherever it lies.
    """
    digest = hashlib.sha256()
    for path in sorted({tensor.file for tensor in checkpoint.tensors.values()}):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for offset in range(0, size, max(PIECE, size // PIECES)):
                file.seek(offset)
                digest.update(file.read(PIECE))
    return digest.hexdigest()
