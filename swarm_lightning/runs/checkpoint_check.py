"""Looks into a checkpoint before anything is made of it: is it whole, and is it one of a swarm?

Whether it belongs to the search that wants to go on is judged in `search/settings.py`.
"""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from swarm_lightning.errors import InputError
from swarm_lightning.search.state import KEY

NEEDED = ("state_dict", "optimizer_states", "loops", "pytorch-lightning_version", KEY)


def check_checkpoint(path: Path) -> None:
    """Refuse a file that can't be resumed, whatever the search.

    Args:
        path: A zip archive; its tensors are mapped, not read.

    Raises:
        InputError: If it is damaged, holds more than tensors and plain values, or was not written by a swarm.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as cause:
        found = re.search(r"GLOBAL ([\w.]+)", str(cause))  # the rest tells how to load it all the same
        raise InputError(
            f"Expected a checkpoint of tensors and plain values only, but {str(path)!r} holds "
            f"{found[1] if found else 'something else'}, which could run code and is not loaded. Give a checkpoint of "
            "`swarm fit`."
        ) from cause
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError) as cause:
        raise InputError(
            f"Expected a checkpoint, but {str(path)!r} can't be read: {_first_line(cause)} Give another one."
        ) from cause
    lacking = [name for name in NEEDED if not isinstance(content, dict) or name not in content]
    if lacking:
        raise InputError(
            f"Expected a checkpoint of a swarm, but {str(path)!r} lacks {', '.join(map(repr, lacking))}. Give one that "
            "`swarm fit` has written."
        )
    if not _fits_itself(content):
        raise InputError(f"Expected a checkpoint of a swarm, but the parts of {str(path)!r} do not fit each other.")


def _fits_itself(content: dict[str, Any]) -> bool:
    """Tell whether positions and the memory of the swarm are of one size."""
    try:
        positions = content["state_dict"]["positions"]
        (memory,) = content["optimizer_states"][0]["state"].values()
        return bool(
            memory["velocities"].shape == memory["personal_bests"].shape == positions.shape
            and memory["global_best"].shape == memory["global_worst"].shape == positions.shape[1:]
            and memory["utilities"].shape == positions.shape[:1]
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        return False


def _first_line(cause: Exception) -> str:
    lines = str(cause).strip().splitlines()
    return (lines[0] if lines else type(cause).__name__).rstrip(".") + "."
