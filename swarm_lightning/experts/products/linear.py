"""A linear layer beside which P particles add weighted sums of the same products.

All particles share the stacked matrices of the experts and differ only in how they weigh their rows, so the layer takes
three shared products and one multiplication of every row's R numbers: base(x) + B ((A x) * s_p). With coefficients in
place of matrices a particle costs R numbers a layer, and nothing is batched over particles; but every row pays for the
R = n r components of all experts, where a particle of its own A and B pays for r.
"""

from typing import Any

import torch
from torch import Tensor

from swarm_lightning.experts.resident.stacked_linear import BatchShape, ParticleLinear


class ProductLinear(ParticleLinear):
    """A linear layer and the products that P particles weigh; without weights it is the plain layer."""

    def __init__(self, base_layer: torch.nn.Module, name: str, down: Tensor, up: Tensor, batch: BatchShape) -> None:
        """Wrap a layer; see `ParticleLinear`.

        Args:
            base_layer: The frozen layer.
            name: Its path in the model.
            down: Stacked A matrices [R, in], on the layer's device; in their dtype the products are computed.
            up: Stacked B matrices [out, R], likewise.
            batch: Shared by all layers of the model.
        """
        super().__init__(base_layer, name, down.dtype, batch)
        self.down, self.up = down, up
        self.scale: Tensor | None = None
        self.rows = slice(None)

    def weigh(self, scale: Tensor | None, rows: slice = slice(None)) -> None:
        """Take the weights of P particles, by reference; None makes it the plain layer again.

        Args:
            scale: What every particle multiplies the rows of A x with [P, R].
            rows: Outside of which all weights are 0, so that nothing is computed there.
        """
        self.scale, self.rows = scale, rows

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Apply the layer.

        Args:
            x: Inputs [B, T, in] or [B T, in]; B is a multiple of P, and rows lie particle by particle.
            args: Handed on to the layer.
            kwargs: Handed on to the layer.

        Returns:
            The outputs, [B, T, out] or [B T, out].

        Raises:
            InputError: If P > 1 and the rows of the inputs are not those of the batch.
        """
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.scale is None:
            return result
        particles = len(self.scale)
        if particles > 1:
            self.check_rows(x)
        hidden = x.to(self.dtype).reshape(-1, x.shape[-1]) @ self.down[self.rows].T
        hidden.view(particles, -1, hidden.shape[-1]).mul_(self.scale[:, None, self.rows])
        up = self.up[:, self.rows]
        if result.dtype == self.dtype and result.is_contiguous():
            result.view(-1, result.shape[-1]).addmm_(hidden, up.T)
            return result
        return (result + (hidden @ up.T).view_as(result)).to(result.dtype)
