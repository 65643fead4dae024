"""Reads PEFT adapters: `adapter_config.json` and `adapter_model.safetensors`, nothing else.

Pickled weights are never opened. Whether adapters fit each other and a base is decided in `checks.py`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.naming import name_of
from swarm_lightning.experts.safetensors_files import StoredTensor, tensors_of
from swarm_lightning.experts.sources import download, local_folder
from swarm_lightning.experts.tokenizers.tokenizer_files import TOKENIZER_PARTS
from swarm_lightning.texts import read_text

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "README.md"
PICKLED_FILE = "adapter_model.bin"
POINTER_START = b"version https://git-lfs"
# A whole layer in an adapter's file. Matrices of LoRA and layers of `modules_to_save` are others.
COPY = re.compile(r"base_model\.model\.(?!.*(?:lora_|modules_to_save|original_module)).*\.weight")
# PEFT's own name of an adapter, in the middle of a matrix's name: what `state_dict` gives and a plain save keeps.
NAMED = re.compile(r"(?<=\.)(lora_[AB])\.default(?=\.weight$)")


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter as its two files hold it.

    Attributes:
        name: What it is called in tables and messages: its folder's name, or the hub id.
        source: The folder or hub id it was read from.
        config: The content of `adapter_config.json`.
        tensors: The content of `adapter_model.safetensors`, names and dtypes as they stand there, on the CPU, without
            the copies.
        copies: Whole layers of the base that PEFT has saved beside the A and B matrices, as it does where they adapt
            `lm_head`: where each lies, by its name in the file. Only `copies.check_copies` reads them.
    """

    name: str
    source: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    copies: Mapping[str, StoredTensor] = field(default_factory=dict, repr=False)


def read_adapter(source: str, name: str | None = None) -> Adapter:
    """Read the two files of an adapter.

    Args:
        source: An adapter's folder, or a hub id (`owner/name`), of which only the two files, the card and the
            tokenizer are fetched.
        name: What it is called; by its folder or hub id where absent.

    Raises:
        InputError: If a file is missing, empty, truncated, pickled or not what its name says.
    """
    folder = local_folder(source, "an adapter")
    name = name or (source if folder is None else name_of(folder))
    if folder is None:
        folder = download(source, (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, *TOKENIZER_PARTS), "an adapter")
    config, tensors = _read_config(folder, source), _read_tensors(folder, source)
    copies = _copies(tensors)
    kept = _without_adapter_name({key: tensor for key, tensor in tensors.items() if key not in copies}, source)
    if not kept:
        raise InputError(
            f"Expected LoRA tensors in {str(folder / WEIGHTS_FILE)!r}, but it holds only whole layers, such as "
            f"{copies[0]!r}. Save the adapter again with PEFT, or leave it out."
        )
    stored = tensors_of(folder / WEIGHTS_FILE, name) if copies else {}
    return Adapter(name, source, config, kept, {key: stored[key] for key in copies})


def _read_config(folder: Path, source: str) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    _check_present(path, source)
    try:
        config = json.loads(read_text(path))
    except json.JSONDecodeError as cause:
        raise InputError(
            f"Expected JSON in {str(path)!r}, but line {cause.lineno}, column {cause.colno} breaks it: {cause.msg}. "
            "Copy the file again, or save the adapter again with PEFT."
        ) from cause
    except RecursionError as cause:
        raise InputError(f"Expected JSON in {str(path)!r}, but it can't be read: {cause}.") from cause
    if not isinstance(config, dict):
        raise InputError(
            f"Expected a JSON object in {str(path)!r}, but got {type(config).__name__}. Save the adapter with PEFT."
        )
    return config


def _read_tensors(folder: Path, source: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    if not path.exists() and (folder / PICKLED_FILE).exists():
        raise InputError(
            f"Expected {WEIGHTS_FILE} in {source!r}, but it holds only the pickled {PICKLED_FILE}, which can run code "
            "and is never opened here. If you trust it, load it once with PEFT and call save_pretrained: that writes "
            f"{WEIGHTS_FILE}."
        )
    _check_present(path, source)
    try:
        with path.open("rb") as file:
            if file.read(len(POINTER_START)) == POINTER_START:
                raise InputError(f"Expected weights in {str(path)!r}, but it is a Git LFS pointer. Run `git lfs pull`.")
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as cause:
        if isinstance(cause, InputError):
            raise
        raise InputError(
            f"Expected safetensors in {str(path)!r} ({path.stat().st_size} bytes), but it can't be read: {cause}. "
            "It may be truncated: copy it again, or save the adapter again with PEFT."
        ) from cause
    if not tensors:
        raise InputError(f"Expected LoRA tensors in {str(path)!r}, but it holds none. Save it again with PEFT.")
    return tensors


def _copies(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of whole layers: a weight, and a bias only beside its weight."""
    weights = [key for key in tensors if COPY.fullmatch(key)]
    return weights + [bias for key in weights if (bias := f"{key.removesuffix('.weight')}.bias") in tensors]


def _without_adapter_name(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return tensors by the names that PEFT saves; `default` in them is the name of the adapter in a live model."""
    renamed = {key: NAMED.sub(r"\1", key) for key in tensors}
    if len(set(renamed.values())) < len(renamed):
        twice = next(key for key, name in renamed.items() if key != name and name in tensors)
        raise InputError(
            f"Expected every matrix once, but {source!r} holds {twice!r} and {renamed[twice]!r}, which are one for "
            "PEFT. Save the adapter again with PEFT's save_pretrained, or leave it out."
        )
    return {renamed[key]: tensor for key, tensor in tensors.items()}


def _check_present(path: Path, source: str) -> None:
    if not path.is_file():
        raise InputError(
            f"Expected {path.name} in {source!r}, but it is not there. An adapter is a folder with {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}, as PEFT's save_pretrained writes it; a hub repository needs both in its top folder."
        )
    if path.stat().st_size == 0:
        raise InputError(f"Expected content in {str(path)!r}, but it is empty. Copy the adapter again.")
