"""Writes and reads the folder of a mixture of models: `swarm.json` with the numbers, where the experts lie, and a card.

The experts' weights stay where they are. What mixes them is `swarm_lightning.load`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from swarm_lightning.experts.adapters import CARD_FILE
from swarm_lightning.experts.export.adapter import new_folder
from swarm_lightning.experts.export.exported_file import MIXTURE_FILE, lasting, read_description, write_description
from swarm_lightning.experts.model_pool import ModelPool


@dataclass(frozen=True)
class MixtureFile:
    """What the file of a mixture says.

    Attributes:
        mixture: What the numbers multiply.
        base: Folder or hub id of the model that says how prompts are put.
        dtype: Data type of the models.
        experts: Folder or hub id of each.
        numbers: The mixing number of each.
        fingerprint: Of the experts when it was written.
    """

    mixture: str
    base: str
    dtype: str
    experts: tuple[str, ...]
    numbers: tuple[float, ...]
    fingerprint: str


def export_mixture(
    folder: Path, numbers: Tensor, pool: ModelPool, mixture: str, base: str, dtype: str, card: str, overwrite: bool
) -> Path:
    """Write a mixture.

    Args:
        folder: Where it goes; its parents are made.
        numbers: Mixing numbers [n].
        pool: The experts.
        mixture: What the numbers multiply.
        base: Folder or hub id of the model that says how prompts are put.
        dtype: Data type of the models.
        card: Content of README.md.
        overwrite: Whether an existing folder may be replaced. It stays as it was until the new one is complete.

    Returns:
        The folder.

    Raises:
        InputError: If the folder exists and `overwrite` is off, or can't be written; nothing is left behind then.
    """
    experts = zip(pool.names, pool.sources, pool.kinds, numbers.tolist(), strict=True)
    content = {
        "mixture": mixture,
        "base": lasting(base),
        "dtype": dtype,
        "experts": [
            {"name": name, "source": lasting(source), "kind": kind, "number": number}
            for name, source, kind, number in experts
        ],
        "fingerprint": pool.fingerprint,
    }
    with new_folder(folder, overwrite, "mixture") as partial:
        write_description(partial / MIXTURE_FILE, folder, "token swarm", content)
        (partial / CARD_FILE).write_text(card, encoding="utf-8")
    return folder


def read_mixture(folder: Path) -> MixtureFile:
    """Read the file of a mixture.

    Args:
        folder: With `swarm.json`.

    Raises:
        InputError: If it is not there, or not what `export_mixture` writes.
    """
    return read_description(folder / MIXTURE_FILE, "mixture", "model.mixture", _read)


def _read(content: dict[str, Any]) -> MixtureFile:
    experts: list[dict[str, Any]] = content["experts"]
    numbers = tuple(float(expert["number"]) for expert in experts)
    if not numbers:
        raise ValueError("no experts")
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"numbers {numbers}, which are not all finite")
    return MixtureFile(
        str(content["mixture"]),
        str(content["base"]),
        str(content["dtype"]),
        tuple(str(expert["source"]) for expert in experts),
        numbers,
        str(content["fingerprint"]),
    )
