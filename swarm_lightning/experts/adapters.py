"""Finds and reads PEFT adapters: `adapter_config.json` and `adapter_model.safetensors`, nothing else.

Pickled weights are never opened. Whether adapters fit each other and a base is decided in `checks.py`.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.sources import download, local_folder
from swarm_lightning.texts import read_text

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLED_FILE = "adapter_model.bin"
POINTER_START = b"version https://git-lfs"


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter as its two files hold it.

    Attributes:
        name: What it is called in tables and messages: its folder's name, or the hub id.
        source: The folder or hub id it was read from.
        config: The content of `adapter_config.json`.
        tensors: The content of `adapter_model.safetensors`, names and dtypes as they stand there, on the CPU.
    """

    name: str
    source: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]


def find_adapters(sources: str | Sequence[str]) -> list[str]:
    """Return the folders and hub ids of all adapters that the sources name, in order; folders sorted by name.

    Args:
        sources: A folder of adapter folders, an adapter folder, a hub id, `demo:experts`, or a list that mixes them.

    Raises:
        InputError: If a path does not exist, a folder holds no adapter, or a sub-folder holds half of one.
    """
    listed = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not listed:
        raise InputError("Expected at least one folder or hub id with experts, but got an empty list.")
    found: list[str] = []
    for source in map(os.fspath, listed):
        folder = local_folder(source, "adapters")
        if folder is None:
            found.append(source)
        elif _holds_adapter(folder):
            found.append(str(folder))
        else:
            found.extend(_adapters_inside(folder))
    return found


def read_adapter(source: str) -> Adapter:
    """Read the two files of an adapter.

    Args:
        source: An adapter's folder, or a hub id (`owner/name`), of which only the two files are fetched.

    Raises:
        InputError: If a file is missing, empty, truncated, pickled or not what its name says.
    """
    folder = local_folder(source, "an adapter")
    name = source if folder is None else folder.resolve().name
    if folder is None:
        folder = download(source, (CONFIG_FILE, WEIGHTS_FILE), "an adapter")
    return Adapter(name, source, _read_config(folder, source), _read_tensors(folder, source))


def _holds_adapter(folder: Path) -> bool:
    return any((folder / file).exists() for file in (CONFIG_FILE, WEIGHTS_FILE, PICKLED_FILE))


def _adapters_inside(folder: Path) -> list[str]:
    try:
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as cause:
        raise InputError(f"Expected a folder with adapters, but {str(folder)!r} can't be read: {cause}.") from cause
    adapters = [str(entry) for entry in inside if _holds_adapter(entry)]
    if not adapters:
        seen = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise InputError(
            f"Expected {str(folder)!r} to hold {CONFIG_FILE} or sub-folders that do, but it holds: {seen}. "
            "Name a folder of PEFT adapters."
        )
    return adapters


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


def _check_present(path: Path, source: str) -> None:
    if not path.is_file():
        raise InputError(
            f"Expected {path.name} in {source!r}, but it is not there. An adapter is a folder with {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}, as PEFT's save_pretrained writes it; a hub repository needs both in its top folder."
        )
    if path.stat().st_size == 0:
        raise InputError(f"Expected content in {str(path)!r}, but it is empty. Copy the adapter again.")
