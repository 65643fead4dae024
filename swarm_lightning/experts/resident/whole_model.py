"""The resident model that becomes one particle after the other by taking up all of its weights.

Weights are copied in pieces from wherever a particle lies into the model's own memory, and rounded to its dtype as
`from_pretrained` rounds them. The plain base comes back from its files: a second copy in memory would double it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_forward import ForwardPass
from swarm_lightning.experts.architecture import Architecture
from swarm_lightning.experts.resident.stacked_linear import BatchShape
from swarm_lightning.freed_memory import return_freed_memory
from swarm_lightning.threads import in_threads
from swarm_lightning.vectors import Vector, Vectors, windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

THREADS = 3  # pieces of a particle that are read and copied at a time


class WholeModel:
    """A model whose weights are those of one particle at a time; follows the protocol `ResidentModel`.

    Attributes:
        model: The module to call forward on, in eval mode; nothing needs a gradient.
        most_particles: 1: a forward pass is of one particle.
        forward: How the model is called.
        batch: Not needed by plain layers.
        carried: A note of whoever loaded last on what it loaded; None after any other load.
    """

    most_particles: int | None = 1

    def __init__(self, model: "PreTrainedModel", architecture: Architecture, base: Vector) -> None:
        """Take over a model.

        Args:
            model: The base as it was loaded; it is changed in place.
            architecture: Which weight stands where in a vector.
            base: The base's own weights [D].
        """
        return_freed_memory()
        self.model = model
        self.batch = BatchShape()
        self.carried: object = None
        self._base = base
        self._is_base = True
        parameters = dict(model.named_parameters())
        for parameter in parameters.values():
            parameter.data = parameter.data.contiguous()
        self._parameters = [parameters[name].data for name in architecture.layout.names]
        model.requires_grad_(False).eval()
        self.forward = ForwardPass(model)

    @torch.no_grad()
    def load(self, vectors: Vectors) -> None:
        """Take up the weights of a particle.

        Args:
            vectors: Its weights as [1, D], or as one vector [D].

        Raises:
            ValueError: If there are several particles, or their weights are not as many as the model's.
        """
        size = sum(parameter.numel() for parameter in self._parameters)
        if len(vectors) != 1 or len(vectors[0]) != size:
            raise ValueError(
                f"Expected the {size} weights of one particle, but got {len(vectors)} of "
                f"{[len(vector) for vector in vectors]}."
            )
        self.carried, self._is_base = None, False
        vector, start = vectors[0], 0
        pieces = []
        for parameter in self._parameters:
            pieces += [(parameter, begin, end, start) for begin, end in windows(0, parameter.numel())]
            start += parameter.numel()

        def take(piece: tuple[Tensor, int, int, int]) -> None:
            parameter, begin, end, first = piece
            parameter.view(-1)[begin:end].copy_(vector[first + begin : first + end])

        in_threads(take, pieces, THREADS)  # the disk reads for one while another is copied

    def unload(self) -> None:
        """Let go of the particle: its weights are copies, and stay until others are taken up."""
        self.carried = None

    @contextmanager
    def base_only(self) -> "Iterator[PreTrainedModel]":
        """Give the plain base for the length of a `with` block, bit for bit as it was loaded."""
        if not self._is_base:
            self.load([self._base])
            self._is_base = True
        self.carried = None
        yield self.model
