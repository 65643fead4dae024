"""A pool of any causal language models, which are mixed by their next-token distributions or answer each other.

An expert is an adapter on some base, or a model of its own; architectures and sizes may differ. As a vector an expert
is its mixing numbers: 1 for itself and 0 for all others, so that spaces and baselines which combine experts combine
these. Models are loaded where they are asked (`evaluation/mixtures/model_groups.py`).
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.checkpoints import fingerprint_of, read_checkpoint
from swarm_lightning.experts.finding import FoundExpert, check_found, find_experts
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.merged_demo import with_demo_checkpoints
from swarm_lightning.experts.naming import unique_names
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.products.division import Division
from swarm_lightning.experts.products.products import Granularity
from swarm_lightning.experts.sources import local_folder
from swarm_lightning.vectors import MIXTURE, MODEL

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from swarm_lightning.experts.resident.adapted import AdaptedModel

NUMBERS = "mixing_numbers"


@dataclass(frozen=True)
class Standing:
    """A model with the experts that stand on it: adapters, and the model itself where it is an expert.

    Attributes:
        source: Folder or hub id of the model.
        adapters: Its adapters; may be none.
        places: The experts' places in the pool: those of the adapters, and last that of the model itself.
    """

    source: str
    adapters: ExpertPool
    places: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether the model itself is an expert."""
        return len(self.places) > len(self.adapters.names)


@dataclass(frozen=True)
class ModelPool:
    """Models that can be mixed; follows the protocol `Pool`.

    Attributes:
        names: One unique name for each expert.
        sources: The folder or hub id of each.
        kinds: `adapter` or `checkpoint`.
        standings: The models that are loaded, that of the base first, whether or not an expert stands on it.
        mixture: What is mixed: `probabilities` or `log_probabilities`; None where each answers alone.
        fingerprint: SHA-256 over names and weights, not over where they lie.
        notes: How adapters' files were changed to get one form.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    kinds: tuple[str, ...]
    standings: tuple[Standing, ...]
    mixture: str | None
    fingerprint: str
    notes: tuple[str, ...] = field(default=())

    @property
    def base(self) -> str:
        """The model that says how prompts are put, where the user names none: that of the first expert."""
        return self.standings[0].source

    @property
    def form(self) -> str:
        """Mixing numbers, or where each answers alone, its place."""
        return MODEL if self.mixture is None else MIXTURE

    @property
    def are_differences(self) -> bool:
        """Whether a sum of experts needs no origin: mixing numbers are taken as they are."""
        return True

    @property
    def layout(self) -> Layout:
        """The mixing numbers as one tensor."""
        return Layout((NUMBERS,), ((len(self.names),),))

    @property
    def vectors(self) -> Tensor:
        """The mixing numbers of every expert alone [n, n]."""
        return torch.eye(len(self.names))

    def vector(self, index: int) -> Tensor:
        """Return the mixing numbers [n] of an expert alone."""
        return self.vectors[index]

    def base_vector(self, source: str) -> None:
        """Return None: of no expert anything."""

    def products(self) -> None:
        """Return None: mixing numbers are no products."""

    def divide(self, granularity: Granularity) -> Division:
        """Refuse: experts of different architectures have no parts in common.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"Expected model.coefficients to be null with model.mixture, but got {granularity!r}: a token swarm has "
            "one number per expert. Leave it out."
        )

    def scaling(self, name: str) -> float:
        """Return 1: numbers are used as they stand."""
        return 1.0

    def resident(self, base: "PreTrainedModel", source: str) -> "AdaptedModel":
        """Make the first of the models, with the adapters that stand on it.

        Args:
            base: The model as it was loaded; it is changed in place.
            source: Folder or hub id that it was loaded from.

        Raises:
            InputError: If an adapter, or the tokenizer beside it, does not belong to it.
        """
        return self.standings[0].adapters.resident(base, source)


def load_models(sources: str | Sequence[str], base: str | None, mixture: str | None, least: int = 2) -> ModelPool:
    """Find any models, and read and check the adapters among them.

    An adapter stands on the expert that its config names as its base; else on the base that is given, or where that is
    None on what its config names.

    Args:
        sources: Folders of experts of any kind, experts, and hub ids.
        base: Folder or hub id of the model that says how prompts are put, and that adapters stand on; may be None.
        mixture: What is mixed; None where each answers alone.
        least: How many experts there must be.

    Raises:
        InputError: If there are fewer, one is given twice, nothing says what an adapter stands on, or those on one base
            can't be read.
    """
    found = find_experts(with_demo_checkpoints(sources))
    check_found(found, least, "Add adapters or models of any architecture.")
    names = unique_names([one.name for one in found], [one.source for one in found])
    found = [FoundExpert(name, one.source, one.kind) for name, one in zip(names, found, strict=True)]
    own = {_key(one.source): one.source for one in found if one.kind == "checkpoint"}
    stood_on: dict[str, list[int]] = {} if base is None else {_key(base): []}
    places_of: dict[str, str] = {} if base is None else {_key(base): base}
    for place, one in enumerate(found):
        source = one.source if one.kind == "checkpoint" else _base_of(one, base, own)
        places_of.setdefault(_key(source), source)
        stood_on.setdefault(_key(source), []).append(place)
    standings = []
    digest = hashlib.sha256(json.dumps([names, [one.kind for one in found]]).encode())
    for key, places in stood_on.items():
        adapters = [place for place in places if found[place].kind == "adapter"]
        pool = load_pool([found[place] for place in adapters], least=1) if adapters else ExpertPool.empty()
        plain = [place for place in places if found[place].kind == "checkpoint"]
        digest.update(pool.fingerprint.encode())
        # What nothing stands on, or only adapters, is known by the fingerprint of the base where it is the base.
        if plain or (base is not None and key != _key(base)):
            digest.update(fingerprint_of(read_checkpoint(places_of[key])).encode())
        standings.append(Standing(places_of[key], pool, (*adapters, *plain)))
    notes = tuple(note for one in standings for note in one.adapters.notes)
    sources_of = tuple(one.source for one in found)
    kinds = tuple(one.kind for one in found)
    return ModelPool(tuple(names), sources_of, kinds, tuple(standings), mixture, digest.hexdigest(), notes)


def find_again(sources: Sequence[str], base: str, mixture: str | None, fingerprint: str, place: Path) -> ModelPool:
    """Find the models that an exported file names.

    Args:
        sources: Folder or hub id of each.
        base: Folder or hub id of the model that says how prompts are put.
        mixture: What is mixed; None where each answers alone.
        fingerprint: Of the pool when the file was written.
        place: The file, for messages.

    Raises:
        InputError: If one is gone, or what lies there is no longer one model.
    """
    try:
        pool = load_models(list(sources), base, mixture, least=1)
    except InputError as cause:
        raise InputError(f"{cause} That is what {str(place)!r} names: correct the sources there.") from cause
    if len(pool.names) != len(sources):
        raise InputError(
            f"Expected one expert at each of the {len(sources)} places in {str(place)!r}, but found "
            f"{len(pool.names)}. Correct the sources there."
        )
    if pool.fingerprint != fingerprint:
        warnings.warn(
            f"The experts are not those that {str(place)!r} was made of: their names or weights are others now.",
            stacklevel=3,
        )
    return pool


def _base_of(adapter: FoundExpert, base: str | None, own: dict[str, str]) -> str:
    from swarm_lightning.experts.adapters import read_adapter

    named = read_adapter(adapter.source, adapter.name).config.get("base_model_name_or_path")
    if isinstance(named, str) and named:
        try:
            key = _key(named)
        except InputError:  # a path of the machine that it was trained on
            key = None
        if key in own:
            return own[key]
        if base is None and key is not None:
            return named
    if base is None:
        raise InputError(
            f"Expected a base for the adapter {adapter.name!r}, but model.base is not set, and its config names "
            f"{named!r}, which is not there. Set model.base to its base, or give the base among model.experts."
        )
    return base


def _key(source: str) -> str:
    """Return what is the same for the same model."""
    folder = local_folder(source, "a model", bare_names=True)
    return source if folder is None else str(folder.resolve())
