"""The resident base with weighted sums of the experts' products: a particle is a vector of coefficients.

It stands beside an adapted model on the same base: while one of the two carries particles, the other carries none.
Which layers an adapter means, in which dtype their products are computed, and how the base is called, is the adapted
model's.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.experts.products.linear import ProductLinear
from swarm_lightning.experts.products.products import Groups, Products
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.stacked_linear import StackedLinear
from swarm_lightning.vectors import Vectors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ProductModel:
    """A base model that becomes any particles by taking up their coefficients; follows `ResidentModel`.

    Attributes:
        model: The base: the module to call forward on.
        forward: How the model is called.
        batch: What the layers know of the batch; set it before a forward pass with more than one particle.
        groups: Which coefficient scales what.
        carried: A note of whoever loaded last on what it loaded; None after any other load.
        most_particles: None: any number of them share a forward pass.
    """

    most_particles: int | None = None

    def __init__(self, adapted: AdaptedModel, products: Products, groups: Groups) -> None:
        """Make the layers; they stand in the base only while they carry particles.

        Args:
            adapted: The adapted model on the base; what it carries is let go of when products are taken up.
            products: Of the experts; on another device, or in another dtype, a copy of them is made.
            groups: Which coefficient scales what.

        Raises:
            ValueError: If the products belong to other layers than the adapted model's.
        """
        names = [layer.name for layer in adapted.layers]
        if sorted(names) != sorted(products.layers):
            raise ValueError(f"Expected products of the layers {sorted(names)}, but got {sorted(products.layers)}.")
        self.model = adapted.model
        self.forward, self.batch = adapted.forward, adapted.batch
        self.groups = groups
        self.carried: object = None
        self._adapted = adapted
        by_name = {layer.name: layer for layer in adapted.layers}
        self._layers = [
            (by_name[name], _beside(by_name[name], down, up))
            for name, down, up in zip(products.layers, products.downs, products.ups, strict=True)
        ]

    def grouped(self, groups: Groups) -> "ProductModel":
        """Return the same products with other coefficients; the matrices are shared.

        Args:
            groups: Which coefficient scales what.
        """
        other = copy.copy(self)
        other.groups, other.carried = groups, None
        return other

    @torch.no_grad()
    def load(self, vectors: Vectors) -> None:
        """Take up the coefficients of particles.

        Args:
            vectors: Coefficients [P, C] of the particles of one forward pass, or [C] of one, on any device. Or P
                vectors, which are copied side by side.

        Raises:
            ValueError: If the vectors' shape is not [P, C].
        """
        self.attach(vectors)

    def attach(self, vectors: Vectors) -> None:
        """Take up coefficients as `load` does, so that gradients reach them.

        Args:
            vectors: Coefficients [P, C]; see `load`.

        Raises:
            ValueError: If the vectors' shape is not [P, C].
        """
        if not isinstance(vectors, Tensor):
            vectors = torch.stack([vector[:] for vector in vectors])
        vectors = vectors.unsqueeze(0) if vectors.dim() == 1 else vectors
        self._adapted.unload()
        self.carried = None
        versions = self._versions(vectors)
        moved: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}
        for place, (layer, products) in enumerate(self._layers):
            where = (products.down.device, products.dtype)
            if where not in moved:
                moved[where] = self.groups.scales(vectors.to(*where))
            products.weigh(moved[where][place], self._rows(versions, len(products.down)))
            layer.base_layer = products

    def _versions(self, vectors: Tensor) -> list[int]:
        """Return which of the experts' versions have a part in any particle; all where there is but one."""
        count = self.groups.versions
        if count == 1 or vectors.shape[-1] != self.groups.size:
            return list(range(count))
        parts = vectors.detach().reshape(len(vectors), count, -1)
        return [version for version in range(count) if bool(parts[:, version].any())]

    def _rows(self, versions: list[int], count: int) -> slice:
        """Return the rows of these versions, one beside the other, of so many."""
        each = count // self.groups.versions
        return slice(versions[0] * each, (versions[-1] + 1) * each) if versions else slice(0, each)

    def follow(self, products: Products) -> None:
        """Take up second versions that have been fitted anew.

        Args:
            products: Those that it was made of.
        """
        self.carried = None
        by_name = dict(zip(products.layers, products.downs, strict=True))
        for layer, own in self._layers:
            down = by_name[layer.name]
            if own.down.data_ptr() != down.data_ptr():
                own.down.copy_(down)

    def unload(self) -> None:
        """Let go of the particles and take the products' layers out of the base: what is left is the plain base."""
        self.carried = None
        for layer, products in self._layers:
            products.weigh(None)
            layer.base_layer = products.base_layer

    @contextmanager
    def heard(self, listen: Callable[[int, Tensor], None]) -> Iterator[None]:
        """Tell somebody what the layers read, for the length of a `with` block.

        Args:
            listen: Told at every call of a layer its place among the products' layers, and its inputs [..., in].
        """

        def hook(place: int) -> Callable[[torch.nn.Module, tuple[Tensor, ...]], None]:
            return lambda _, inputs: listen(place, inputs[0])

        handles = [products.register_forward_pre_hook(hook(place)) for place, (_, products) in enumerate(self._layers)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def base_only(self) -> "Iterator[PreTrainedModel]":
        """Give the plain base for the length of a `with` block."""
        carried = [(products.scale, products.rows) for _, products in self._layers]
        for _, products in self._layers:
            products.weigh(None)
        try:
            with self._adapted.base_only() as model:
                yield model
        finally:
            for (_, products), (scale, rows) in zip(self._layers, carried, strict=True):
                products.weigh(scale, rows)


def _beside(layer: StackedLinear, down: Tensor, up: Tensor) -> ProductLinear:
    """Make the layer that stands in a stacked layer's place of the plain one, where the model's hooks see it."""
    place = (next(layer.base_layer.parameters()).device, layer.dtype)
    plain = layer.base_layer
    return ProductLinear(plain, layer.name, down.to(*place), up.to(*place), layer.batch)
