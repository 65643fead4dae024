"""The pool: all experts as rows of one matrix [n, D], checked, named, and with a fingerprint for resuming.

Rows are float32 whatever the files' dtype; the up-cast from float16 and bfloat16 is exact.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from swarm_lightning.experts.adapters import Adapter, read_adapter
from swarm_lightning.experts.checks import UP, check_adapters, layer_of
from swarm_lightning.experts.common_form import common_form
from swarm_lightning.experts.finding import FoundExpert, check_found, find_experts
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.naming import unique_names
from swarm_lightning.experts.products.division import Division
from swarm_lightning.experts.products.products import Granularity, Products
from swarm_lightning.experts.safetensors_files import StoredTensor
from swarm_lightning.experts.settings import SCALING, scaling_of
from swarm_lightning.experts.tokenizers.tokenizers import check_tokenizers
from swarm_lightning.vectors import ADAPTER

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from swarm_lightning.experts.resident.adapted import AdaptedModel

SAME_START = "Every expert computes what it did; the search moves these matrices."


@dataclass(frozen=True)
class ExpertPool:
    """Experts that can be moved together.

    Attributes:
        names: One unique name for each expert.
        sources: The folder or hub id of each.
        vectors: Their weights [n, D], float32, on the CPU.
        layout: Which tensor stands where in a vector.
        config: The content of `adapter_config.json` of the first, or where experts differ in rank, scaling or targets
            that of their common form; what matters in it holds for all.
        fingerprint: SHA-256 over names, layout, scaling and weights, not over where they lie.
        notes: How the experts' files were changed to get one form; empty where they had one.
        copies: For each expert the whole layers of the base in its file, which have to be the base's own.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    vectors: Tensor
    layout: Layout
    config: dict[str, Any]
    fingerprint: str
    notes: tuple[str, ...] = ()
    copies: tuple[Mapping[str, StoredTensor], ...] = ()

    @classmethod
    def empty(cls) -> "ExpertPool":
        """Return the pool of no experts: its resident model is a base that only answers as itself."""
        return cls((), (), torch.empty(0, 0), Layout((), ()), {}, "")

    def adapters(self) -> list[Adapter]:
        """Return the experts as adapters again, their tensors as views into the rows."""
        parts = zip(self.names, self.sources, self.vectors, strict=True)
        return [Adapter(name, source, self.config, self.layout.unflatten(row)) for name, source, row in parts]

    @property
    def base(self) -> None:
        """The base where the user names none: adapters need one that is named."""

    @property
    def standings(self) -> tuple[()]:
        """No models that answer as they are: weights are moved."""
        return ()

    @property
    def form(self) -> str:
        """The weights of an adapter."""
        return ADAPTER

    @property
    def are_differences(self) -> bool:
        """Whether their weights are differences from the base: adapters are."""
        return True

    def vector(self, index: int) -> Tensor:
        """Return the weights [D] of an expert."""
        return self.vectors[index]

    def base_vector(self, source: str) -> None:
        """Return what a base is as a position: None for zeros, adapters that change nothing."""

    def products(self) -> Products:
        """Return the experts as products B A."""
        return Products.of(self.adapters())

    def divide(self, granularity: Granularity) -> Division:
        """Divide the experts' products into groups."""
        return Division.of_products(self.products(), granularity)

    def scaling(self, name: str) -> float:
        """Return what PEFT multiplies the product of A and B with, for the sake of B; 1 for A."""
        return scaling_of(self.config, layer_of(name)) if name.endswith(UP) else 1.0

    def resident(self, base: "PreTrainedModel", source: str) -> "AdaptedModel":
        """Make the resident model of particles of this pool.

        Args:
            base: The base model; it is changed in place.
            source: Folder or hub id that it was loaded from, for its tokenizer.

        Raises:
            InputError: If an expert, or the tokenizer beside it, does not belong to this base.
        """
        from swarm_lightning.experts.checks import check_base, check_copies
        from swarm_lightning.experts.resident.adapted import AdaptedModel

        check_base(self.adapters(), base)
        for name, copies in zip(self.names, self.copies, strict=False):
            check_copies(name, copies, base)
        check_tokenizers(dict(zip(self.names, self.sources, strict=True)), source)
        return AdaptedModel(base, self)


def load_pool(sources: str | Sequence[str | FoundExpert], least: int = 2) -> ExpertPool:
    """Find, read and check experts, and lay them out as vectors.

    Args:
        sources: A folder of adapter folders, or a list of adapter folders, such folders and hub ids, or what was found
            there.
        least: How many there must be.

    Raises:
        InputError: If there are fewer, one is given twice, or they can't be combined.
    """
    found = find_experts(sources)
    check_found(found, least)
    adapters = [read_adapter(one.source, one.name) for one in found]
    names = unique_names([adapter.name for adapter in adapters], [adapter.source for adapter in adapters])
    adapters = [replace(adapter, name=name) for adapter, name in zip(adapters, names, strict=True)]
    check_adapters(adapters)
    form = common_form(adapters)
    if form.notes:
        warnings.warn(" ".join([*form.notes, SAME_START]), stacklevel=2)
    layout, config = form.layout, form.config
    vectors = torch.empty(len(adapters), layout.size, dtype=torch.float32)
    for row, adapter in zip(vectors, adapters, strict=True):
        layout.flatten(form.tensors(adapter), out=row)
    idle = [name for name, row in zip(names, vectors, strict=True) if _changes_nothing(row, layout)]
    if idle:
        warnings.warn(
            f"These experts answer exactly like the base, because all of their B matrices are zero: {', '.join(idle)}. "
            "They are used as they are; was their training saved?",
            stacklevel=2,
        )
    fingerprint = _fingerprint(names, layout, config, vectors)
    places, copies = tuple(one.source for one in found), tuple(adapter.copies for adapter in adapters)
    return ExpertPool(names, places, vectors, layout, config, fingerprint, form.notes, copies)


def _changes_nothing(vector: Tensor, layout: Layout) -> bool:
    return not any(tensor.any() for name, tensor in layout.unflatten(vector).items() if name.endswith(UP))


def _fingerprint(names: Sequence[str], layout: Layout, config: dict[str, Any], vectors: Tensor) -> str:
    scaling = {setting: config.get(setting) or default for setting, default in SCALING.items()}
    header = json.dumps([list(names), layout.names, layout.shapes, scaling], sort_keys=True)
    digest = hashlib.sha256(header.encode())
    for row in vectors:
        digest.update(memoryview(row.numpy()).cast("B"))
    return digest.hexdigest()
