"""Writes and reads the folder of a mixture of models: `swarm.json` with the numbers, where the experts lie, and a card.

The experts' weights stay where they are. What mixes them is `swarm_lightning.load`.
"""

import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from swarm_lightning import __version__
from swarm_lightning.errors import InputError
from swarm_lightning.experts.export import CARD_FILE, new_folder
from swarm_lightning.experts.model_pool import ModelPool
from swarm_lightning.experts.safetensors_files import read_json_object
from swarm_lightning.experts.sources import local_folder
from swarm_lightning.paths import DEMO_FOLDER, DEMO_PREFIX

MIXTURE_FILE = "swarm.json"
FORMAT = 1
LIBRARIES = ("torch", "transformers", "peft")


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
        "format": FORMAT,
        "kind": "token swarm",
        "mixture": mixture,
        "base": lasting(base),
        "dtype": dtype,
        "experts": [
            {"name": name, "source": lasting(source), "kind": kind, "number": number}
            for name, source, kind, number in experts
        ],
        "fingerprint": pool.fingerprint,
        "versions": {"swarm-lightning": __version__, **{name: version(name) for name in LIBRARIES}},
        "load": f"swarm_lightning.load({folder.name!r})",
    }
    with new_folder(folder, overwrite, "mixture") as partial:
        (partial / MIXTURE_FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (partial / CARD_FILE).write_text(card, encoding="utf-8")
    return folder


def read_mixture(folder: Path) -> MixtureFile:
    """Read the file of a mixture.

    Args:
        folder: With `swarm.json`.

    Raises:
        InputError: If it is not there, or not what `export_mixture` writes.
    """
    path = folder / MIXTURE_FILE
    if not path.is_file():
        raise InputError(
            f"Expected the folder of a mixture, with {MIXTURE_FILE}, but there is none in {str(folder)!r}. Name what a "
            "search with model.mixture has exported, `best_expert` in its run folder for example."
        )
    content = read_json_object(path, folder.name)
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        experts: list[dict[str, Any]] = content["experts"]
        found = MixtureFile(
            str(content["mixture"]),
            str(content["base"]),
            str(content["dtype"]),
            tuple(str(expert["source"]) for expert in experts),
            tuple(float(expert["number"]) for expert in experts),
            str(content["fingerprint"]),
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise InputError(
            f"Expected a mixture in format {FORMAT} in {str(path)!r}, but it can't be read ({cause!r}). Export it "
            "again."
        ) from cause
    return found


def lasting(source: str) -> str:
    """Return a source so that it means the same from any folder: a name of the demo world, a whole path, or a hub id.

    >>> lasting("demo:base")
    'demo:base'
    """
    folder = None if source.startswith(DEMO_PREFIX) else local_folder(source, "a model", bare_names=True)
    if folder is None:
        return source
    place = Path(os.path.abspath(folder))
    if place.is_relative_to(DEMO_FOLDER):
        return DEMO_PREFIX + place.relative_to(DEMO_FOLDER).as_posix()
    return str(place)
