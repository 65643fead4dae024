"""What an evaluation needs of the resident model, be its particles LoRA weights on a base or whole models."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from swarm_lightning.doors.transformers_forward import ForwardPass
from swarm_lightning.experts.resident.stacked_linear import BatchShape
from swarm_lightning.vectors import Vectors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ResidentModel(Protocol):
    """A model in memory that becomes any particles by taking up their weights.

    Attributes:
        model: The module to call forward on, in eval mode; nothing needs a gradient.
        most_particles: How many particles fit into one forward pass; None for any number.
        forward: How the model is called.
        batch: What its layers know of the batch; set before a forward pass with more than one particle.
        carried: A note of whoever loaded last on what it loaded; None after any other load.
    """

    model: "PreTrainedModel"
    most_particles: int | None
    forward: ForwardPass
    batch: BatchShape
    carried: object

    def load(self, vectors: Vectors) -> None:
        """Take up the weights of the P particles of one forward pass."""

    def unload(self) -> None:
        """Let go of the particles, so that nothing of the swarm is referred to."""

    def base_only(self) -> "AbstractContextManager[PreTrainedModel]":
        """Give the plain base, without any expert, for the length of a `with` block."""
