"""What a search needs of its experts, be they LoRA adapters or full checkpoints, and how either kind is loaded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.architecture import AS_THEY_ARE
from swarm_lightning.experts.finding import find_experts
from swarm_lightning.experts.layout import Layout
from swarm_lightning.experts.merged_demo import with_demo_checkpoints
from swarm_lightning.experts.products.division import Division
from swarm_lightning.experts.products.products import Granularity, Products
from swarm_lightning.experts.resident.resident import ResidentModel
from swarm_lightning.vectors import Vector

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from swarm_lightning.experts.model_pool import Standing


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
    def form(self) -> str:
        """What an expert is as a vector; see `vectors.py`."""

    @property
    def are_differences(self) -> bool:
        """Whether their weights are differences from the base already, as those of adapters are."""

    @property
    def standings(self) -> "tuple[Standing, ...]":
        """The models that answer as they are, where only numbers about experts are moved; empty where weights are."""

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

    def products(self) -> Products | None:
        """Return the experts as products B A; None where they are no adapters."""

    def divide(self, granularity: Granularity) -> Division:
        """Divide the experts into groups of weights that have a coefficient of their own.

        Raises:
            InputError: If experts of this kind can't be divided so.
        """

    def scaling(self, name: str) -> float:
        """Return what the model multiplies a tensor of the layout with, beyond what stands in the vector."""

    def resident(self, base: "PreTrainedModel", source: str) -> ResidentModel:
        """Make the resident model that becomes particles of this pool, out of the base loaded from a source."""


def load_experts(sources: str | Sequence[str], least: int = 2) -> Pool:
    """Find, read and check experts of either kind.

    Args:
        sources: A folder of expert folders, or a list of expert folders, such folders and hub ids; `demo:experts` and
            `demo:checkpoints` ship with the package.
        least: How many there must be; with 0, an empty list is a pool of none.

    Raises:
        InputError: If the kinds are mixed, there are fewer experts, one is given twice, or they can't be
            combined.
    """
    from swarm_lightning.experts.checkpoint_pool import load_checkpoints
    from swarm_lightning.experts.pool import ExpertPool, load_pool

    named = with_demo_checkpoints(sources)
    if not named and least == 0:
        return ExpertPool.empty()
    found = find_experts(named)
    checkpoints = [one for one in found if one.kind == "checkpoint"]
    if not checkpoints:
        return load_pool(found, least)
    adapters = [one for one in found if one.kind == "adapter"]
    if adapters:
        raise InputError(
            f"Expected experts of one kind, but {adapters[0].source!r} is a LoRA adapter and "
            f"{checkpoints[0].source!r} a full checkpoint. Give only adapters, or merge them into their base (PEFT: "
            f"merge_and_unload) and give only full checkpoints. {AS_THEY_ARE}"
        )
    return load_checkpoints(found, least)
