"""The pool of full checkpoints: names, the one layout of their weights, and each as a vector that is read when needed.

Nothing of their size is held in memory until somebody asks for all of them at once, as a comparison of methods does.
Vectors are float32 whatever the files' dtype; the up-cast is exact.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.architecture import (
    Architecture,
    architecture_of,
    check_same_others,
    check_same_settings,
    others_of,
    places_of,
    warn_of_computed,
)
from swarm_lightning.experts.checkpoints import Checkpoint, fingerprint_of, read_checkpoint
from swarm_lightning.experts.finding import FoundExpert, check_found, find_experts
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.naming import unique_names
from swarm_lightning.experts.products.division import Division
from swarm_lightning.experts.products.products import Granularity
from swarm_lightning.experts.safetensors_files import StoredTensor
from swarm_lightning.experts.tokenizers.tokenizers import check_same_ids, check_tokenizers
from swarm_lightning.vectors import CHECKPOINT, windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from swarm_lightning.experts.resident.whole_model import WholeModel


class FileVector:
    """The weights [D] of a checkpoint; follows the protocol `Vector` and reads from its files what is asked for."""

    def __init__(self, name: str, layout: Layout, places: Mapping[str, StoredTensor]) -> None:
        """Say where the weights lie.

        Args:
            name: The checkpoint's name, for messages.
            layout: Which tensor stands where in the vector.
            places: Where each lies, by the layout's names.
        """
        self.name = name
        self._names = layout.names
        self._tensors = [places[name] for name in layout.names]
        self._starts = [0, *accumulate(tensor.numel for tensor in self._tensors)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, weights: slice, /) -> Tensor:
        """Return some of the weights.

        Raises:
            InputError: If one of them is not finite.
        """
        start, stop, _ = weights.indices(len(self))
        found = torch.empty(max(stop - start, 0), dtype=torch.float32)
        place = bisect_right(self._starts, start) - 1
        position = start
        while position < stop:
            first, end = self._starts[place], min(self._starts[place + 1], stop)
            if end > position:
                part = found[position - start : end - start]
                part.copy_(self._tensors[place].window(position - first, end - first))
                if not torch.isfinite(part).all():
                    raise InputError(
                        f"Expected finite weights, but {self._names[place]!r} of {self.name!r} holds NaN or infinite "
                        "numbers. Its training diverged or its file is damaged: leave it out."
                    )
                position = end
            place += 1
        return found


@dataclass(frozen=True)
class CheckpointPool:
    """Full checkpoints that can be moved together.

    Attributes:
        names: One unique name for each expert.
        sources: The folder or hub id of each.
        architecture: What all have in common.
        fingerprint: SHA-256 over names, architecture and pieces of the weights, not over where they lie.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    architecture: Architecture
    fingerprint: str
    _files: tuple[FileVector, ...] = field(repr=False)
    _others: Mapping[str, StoredTensor] = field(repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing: full checkpoints are moved as they are."""
        return ()

    @property
    def standings(self) -> tuple[()]:
        """No models that answer as they are: weights are moved."""
        return ()

    @property
    def form(self) -> str:
        """The weights of a whole model."""
        return CHECKPOINT

    @property
    def are_differences(self) -> bool:
        """Whether their weights are differences from the base: those of whole models are not."""
        return False

    @property
    def layout(self) -> Layout:
        """Which tensor stands where in a vector."""
        return self.architecture.layout

    @property
    def base(self) -> str:
        """The base where the user names none: the first expert."""
        return self.sources[0]

    def vector(self, index: int) -> FileVector:
        """Return the weights [D] of an expert."""
        return self._files[index]

    @cached_property
    def vectors(self) -> Tensor:
        """The weights of all n experts [n, D], float32 on the CPU: read at the first use, and held from then on.

        Raises:
            InputError: If one of them is not finite.
        """
        size = self.layout.size
        vectors = torch.empty(len(self.names), size, dtype=torch.float32)
        for row, file in zip(vectors, self._files, strict=True):
            for start, stop in windows(0, size):
                row[start:stop].copy_(file[start:stop])
        return vectors

    def products(self) -> None:
        """Return None: whole models are no products."""

    def divide(self, granularity: Granularity) -> Division:
        """Divide the experts' tensors into groups; see `Division.of_tensors`."""
        return Division.of_tensors(self.layout, granularity)

    def base_vector(self, source: str) -> FileVector:
        """Return the weights [D] of a base.

        Args:
            source: Its folder or hub id.

        Raises:
            InputError: If they are not those of this architecture.
        """
        return self._vector_of(read_checkpoint(source, "a base model"))

    def _vector_of(self, checkpoint: Checkpoint) -> FileVector:
        return FileVector("the base", self.layout, places_of(checkpoint, self.architecture))

    def scaling(self, name: str) -> float:
        """Return 1: a whole model's weights are used as they stand."""
        return 1.0

    def resident(self, base: "PreTrainedModel", source: str) -> "WholeModel":
        """Make the resident model of particles of this pool.

        Args:
            base: The base model, as it was loaded; it is changed in place.
            source: Folder or hub id that it was loaded from, where its weights are read again.

        Raises:
            InputError: If the base is of another architecture than the experts, or has another tokenizer.
        """
        from swarm_lightning.experts.architecture import describe
        from swarm_lightning.experts.resident.whole_model import WholeModel

        checkpoint = read_checkpoint(source, "a base model")
        check_same_settings(self.names[0], self.architecture, f"the base {source}", describe(base))
        others = others_of(checkpoint, self.architecture)
        check_same_others(checkpoint, others, self.names[0], self._others)
        check_tokenizers(dict(zip(self.names, self.sources, strict=True)), source)
        return WholeModel(base, self.architecture, self._vector_of(checkpoint))


def load_checkpoints(sources: Sequence[str | FoundExpert], least: int = 2) -> CheckpointPool:
    """Read the headers of full checkpoints and check them against each other.

    Args:
        sources: Their folders and hub ids, or what was found there.
        least: How many there must be.

    Raises:
        InputError: If there are fewer, one is given twice or can't be read, or they can't be moved together.
    """
    found = find_experts(sources)
    check_found(found, least)
    places = tuple(one.source for one in found)
    checkpoints = [read_checkpoint(one.source, name=one.name) for one in found]
    names = unique_names([checkpoint.name for checkpoint in checkpoints], places)
    checkpoints = [
        Checkpoint(name, one.source, one.folder, one.config, one.tensors)
        for name, one in zip(names, checkpoints, strict=True)
    ]
    first, architecture = checkpoints[0], architecture_of(checkpoints[0])
    for checkpoint in checkpoints[1:]:
        check_same_settings(checkpoint.name, architecture_of(checkpoint), first.name, architecture)
    others = others_of(first, architecture)
    for checkpoint in checkpoints[1:]:
        check_same_others(checkpoint, others_of(checkpoint, architecture), first.name, others)
    warn_of_computed(checkpoints, architecture)
    check_same_ids(dict(zip(names, places, strict=True)))
    layout = architecture.layout
    vectors = tuple(FileVector(one.name, layout, places_of(one, architecture)) for one in checkpoints)
    header = json.dumps([names, architecture.model, layout.names, layout.shapes, architecture.settings], default=str)
    digest = hashlib.sha256(header.encode())
    for checkpoint in checkpoints:
        digest.update(fingerprint_of(checkpoint).encode())
    return CheckpointPool(tuple(names), places, architecture, digest.hexdigest(), vectors, others)
