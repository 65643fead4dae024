"""Finds the tensors of a checkpoint folder and reads pieces of them, without loading a file.

One `model.safetensors`, or the shards that `model.safetensors.index.json` lists. Pickled weights are never opened, and
no file outside of the folder is. What the tensors mean is decided in `architecture.py`.
"""

import json
import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.texts import read_text

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin", "consolidated.00.pth")
POINTER_START = b"version https://git-lfs"
FLOATS = ("F32", "F16", "BF16")  # which float32 holds exactly
AGAIN = "Copy the checkpoint again, or save it again with save_pretrained."
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies.

    Attributes:
        file: The safetensors file.
        kind: Its data type as the file calls it, `BF16` for example.
        shape: Its shape.
        offset: Its first byte in the file.
    """

    file: Path
    kind: str
    shape: tuple[int, ...]
    offset: int

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    def window(self, start: int, stop: int) -> Tensor:
        """Return some of its numbers, of its own data type, read through a mapping of this part of the file.

        Args:
            start: The first of them, counted over the flat tensor.
            stop: The one behind the last.
        """
        dtype = DTYPES[self.kind]
        if stop <= start:
            return torch.empty(0, dtype=dtype)
        return map_numbers(self.file, self.offset + start * dtype.itemsize, stop - start, dtype)


def map_numbers(file: Path, offset: int, count: int, dtype: torch.dtype) -> Tensor:
    """Map numbers of a file into memory; what is written there stays in memory, and the mapping ends with the tensor.

    Args:
        file: Which file.
        offset: Its first byte that is wanted.
        count: How many numbers, >= 1.
        dtype: Their data type.

    Returns:
        The numbers [count].
    """
    before = offset % mmap.ALLOCATIONGRANULARITY
    with file.open("rb") as opened:
        mapped = mmap.mmap(
            opened.fileno(), before + count * dtype.itemsize, access=mmap.ACCESS_COPY, offset=offset - before
        )
    return torch.frombuffer(mapped, dtype=dtype, count=count, offset=before)


def stored_tensors(folder: Path, expert: str) -> dict[str, StoredTensor]:
    """Find all tensors of a checkpoint.

    Args:
        folder: The checkpoint's folder.
        expert: Its name, for messages.

    Returns:
        Name -> where it lies.

    Raises:
        InputError: If there are no weights as safetensors, a shard is missing, empty, truncated or outside of the
            folder, or the index is not what it should be.
    """
    if (folder / SINGLE).exists():
        return tensors_of(folder / SINGLE, expert)
    if not (folder / INDEX).exists():
        pickled = [name for name in PICKLED if (folder / name).exists()]
        found = f"only the pickled {pickled[0]}, which can run code and is never opened here" if pickled else "neither"
        raise InputError(
            f"Expected {SINGLE} or {INDEX} in the expert {expert!r} ({str(folder)!r}), but it holds {found}. Save it "
            "with save_pretrained, which writes safetensors."
        )
    tensors: dict[str, StoredTensor] = {}
    listed = _read_index(folder / INDEX, expert)
    for shard in sorted(set(listed.values())):
        tensors |= tensors_of(folder / shard, expert)
    for name, shard in listed.items():
        if name not in tensors or tensors[name].file.name != shard:
            raise InputError(
                f"Expected {name!r} of the expert {expert!r} in {shard!r}, as {INDEX} says, but it is not "
                f"there. {AGAIN}"
            )
    return tensors


def _read_index(path: Path, expert: str) -> dict[str, str]:
    index = read_json_object(path, expert)
    listed = index.get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(shard, str) for shard in listed.values()):
        raise InputError(
            f"Expected {INDEX} of the expert {expert!r} to name the shard of every tensor (weight_map), but it does "
            f"not. {AGAIN}"
        )
    for shard in sorted(set(listed.values())):
        if "/" in shard or "\\" in shard or shard in ("", ".", "..") or Path(shard).is_absolute():
            raise InputError(
                f"Expected the shards of the expert {expert!r} in its own folder, but its {INDEX} names {shard!r}. "
                "Only file names without a path are opened. Leave the expert out unless you know where it comes from."
            )
        if not shard.endswith(".safetensors"):
            raise InputError(
                f"Expected shards of the expert {expert!r} to be safetensors, but its {INDEX} names {shard!r}, which "
                "is never opened. Save it with save_pretrained, which writes safetensors."
            )
        if not (path.parent / shard).is_file():
            raise InputError(
                f"Expected the shard {shard!r} of the expert {expert!r}, as its {INDEX} says, but it is missing. "
                f"{AGAIN}"
            )
    return listed


def tensors_of(path: Path, expert: str) -> dict[str, StoredTensor]:
    """Find all tensors of one safetensors file.

    Args:
        path: The file.
        expert: Whose it is, for messages.

    Returns:
        Name -> where it lies.

    Raises:
        InputError: If it can't be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(max(len(POINTER_START), 8))
            if start.startswith(POINTER_START):
                raise InputError(f"Expected weights in {str(path)!r}, but it is a Git LFS pointer. Run `git lfs pull`.")
            with safe_open(path, framework="pt"):  # checks the header against the length of the file
                pass
            length = int.from_bytes(start[:8], "little")
            file.seek(8)
            header: dict[str, Any] = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as cause:
        if isinstance(cause, InputError):
            raise
        held = f"{path.stat().st_size} bytes" if path.exists() else "missing"
        raise InputError(
            f"Expected safetensors in {str(path)!r} of the expert {expert!r} ({held}), but it can't be read: {cause}. "
            f"It may be truncated. {AGAIN}"
        ) from cause
    header.pop("__metadata__", None)
    found = {
        name: StoredTensor(path, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
    }
    assert all(tensor.offset <= size for tensor in found.values())
    return found


def read_json_object(path: Path, expert: str) -> dict[str, Any]:
    """Read a JSON object of an expert.

    Args:
        path: The file.
        expert: Whose it is, for messages.

    Raises:
        InputError: If it can't be read, with line and column where it is broken, or holds something else.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as cause:
        raise InputError(
            f"Expected JSON in {str(path)!r} of the expert {expert!r}, but line {cause.lineno}, column {cause.colno} "
            f"breaks it: {cause.msg}. {AGAIN}"
        ) from cause
    except RecursionError as cause:
        raise InputError(
            f"Expected JSON in {str(path)!r} of the expert {expert!r}, but it can't be read: {cause}. {AGAIN}"
        ) from cause
    if not isinstance(content, dict):
        raise InputError(f"Expected a JSON object in {str(path)!r}, but got {type(content).__name__}. {AGAIN}")
    return content
