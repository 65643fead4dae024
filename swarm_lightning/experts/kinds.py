"""Tells which kind of experts a user brings, LoRA adapters or full checkpoints, from the files in their folders."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import CONFIG_FILE as ADAPTER_CONFIG
from swarm_lightning.experts.adapters import PICKLED_FILE, WEIGHTS_FILE
from swarm_lightning.experts.checkpoints import holds_checkpoint
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.merged_demo import DEMO_CHECKPOINTS, demo_checkpoints
from swarm_lightning.experts.resident import ResidentModel
from swarm_lightning.experts.sources import download, local_folder
from swarm_lightning.vectors import Vector

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Kind = Literal["adapter", "checkpoint"]


class Pool(Protocol):
    """Experts of one kind that can be moved together."""

    @property
    def names(self) -> tuple[str, ...]:
        """One unique name for each expert."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The folder or hub id of each."""

    @property
    def fingerprint(self) -> str:
        """What tells these experts from others."""

    @property
    def layout(self) -> Layout:
        """Which tensor stands where in a vector."""

    @property
    def base(self) -> str | None:
        """The base where the user names none; None where one has to be named."""

    @property
    def are_differences(self) -> bool:
        """Whether their weights are differences from the base already, as those of adapters are."""

    @property
    def notes(self) -> tuple[str, ...]:
        """How the experts' files were changed to get one form, for the model card."""

    @property
    def vectors(self) -> Tensor:
        """The weights of all n experts [n, D], float32 on the CPU; full checkpoints are read at the first use."""

    def vector(self, index: int) -> Vector:
        """Return the weights [D] of an expert."""

    def base_vector(self, source: str) -> Vector | None:
        """Return what a base is as a position [D]; None for zeros: adapters that change nothing."""

    def resident(self, base: "PreTrainedModel", source: str) -> ResidentModel:
        """Make the resident model that becomes particles of this pool, out of the base loaded from a source."""


def load_experts(sources: str | Sequence[str]) -> Pool:
    """Find, read and check experts of either kind.

    Args:
        sources: A folder of expert folders, or a list of expert folders, such folders and hub ids; `demo:experts` and
            `demo:checkpoints` ship with the package.

    Raises:
        InputError: If the kinds are mixed, there are fewer than two experts, one is given twice, or they can't be
            combined.
    """
    from swarm_lightning.experts.checkpoint_pool import load_checkpoints
    from swarm_lightning.experts.pool import load_pool

    listed = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    named = [
        demo_checkpoints(source) if source.startswith(DEMO_CHECKPOINTS) else source for source in map(os.fspath, listed)
    ]
    kinds = [pair for source in named for pair in _kinds_of(source)]
    checkpoints = [source for source, kind in kinds if kind == "checkpoint"]
    if not checkpoints:
        return load_pool(named)
    adapters = [source for source, kind in kinds if kind == "adapter"]
    if adapters:
        raise InputError(
            f"Expected experts of one kind, but {adapters[0]!r} is a LoRA adapter and {checkpoints[0]!r} a full "
            "checkpoint. Give only adapters, or merge them into their base (PEFT: merge_and_unload) and give only "
            "full checkpoints."
        )
    if len(checkpoints) < 2:
        raise InputError(
            f"Expected at least two experts, but found 1: {checkpoints[0]!r}. Add full checkpoints of the same "
            "architecture."
        )
    keys = [str(Path(source).expanduser().resolve()) for source in checkpoints]
    twice = [source for source, key in zip(checkpoints, keys, strict=True) if keys.count(key) > 1]
    if twice:
        raise InputError(f"Expected every expert once, but {twice[0]!r} is given {len(twice)} times. List it once.")
    return load_checkpoints(checkpoints)


def _kinds_of(source: str) -> list[tuple[str, Kind]]:
    """Return the experts behind a source with their kinds; nothing for what `load_pool` explains better."""
    folder = local_folder(source, "adapters")
    if folder is None:
        return [(source, _kind_on_hub(source))]
    kind = _kind(folder)
    if kind is not None:
        return [(str(folder), kind)]
    try:
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
    found = ((str(entry), _kind(entry)) for entry in inside)
    return [(entry, kind) for entry, kind in found if kind is not None]


def _kind(folder: Path) -> Kind | None:
    adapter = any((folder / name).exists() for name in (ADAPTER_CONFIG, WEIGHTS_FILE, PICKLED_FILE))
    if adapter and holds_checkpoint(folder):
        raise InputError(
            f"Expected an expert to be a LoRA adapter or a full checkpoint, but {str(folder)!r} holds the files of "
            "both. Keep them in two folders."
        )
    if adapter:
        return "adapter"
    return "checkpoint" if holds_checkpoint(folder) else None


def _kind_on_hub(hub_id: str) -> Kind:
    folder = download(hub_id, (ADAPTER_CONFIG, "config.json"), "an adapter")
    return "adapter" if (folder / ADAPTER_CONFIG).exists() else "checkpoint"
