"""A linear layer that carries the LoRA matrices of P particles at once, beside the weights they share.

Rows of a batch lie particle by particle, equally many for each, so that the whole batch takes one shared product and
two batched ones. With one particle the numbers are those of PEFT's unmerged layer, of a wide one on a CPU up to their
rounding: the low-rank product is computed in the adapter's data type and added before the result is rounded to that of
the base.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from swarm_lightning.errors import InputError

# Inputs from which on A x^T is computed on a CPU and not x A^T: it took half to two thirds of the time at 512, 576 and
# 1536 inputs. Among narrower layers some gain and some lose.
WIDE = 512


@dataclass
class BatchShape:
    """What the layers must know about the batch of the moment: all layers of a model share one.

    Attributes:
        rows: Rows of the batch.
        tokens: Columns of the batch.
        flat_rows: Whether a layer may be handed rows and columns as one dimension; where a model routes tokens to
            experts of its own, such a matrix could hold any selection of them.
    """

    rows: int = 0
    tokens: int = 0
    flat_rows: bool = True


class ParticleLinear(torch.nn.Module):
    """A frozen linear layer that stands in a model in place of a plain one and adds what P particles add to it."""

    def __init__(self, base_layer: torch.nn.Module, name: str, dtype: torch.dtype, batch: BatchShape) -> None:
        """Wrap a layer.

        Args:
            base_layer: The frozen layer, `torch.nn.Linear` or the transposed `Conv1D` of GPT-2.
            name: Its path in the model.
            dtype: In what the low-rank product is computed.
            batch: Shared by all layers of the model.
        """
        super().__init__()
        self.base_layer = base_layer
        self.name = name
        self.dtype = dtype
        self.batch = batch

    @property
    def weight(self) -> Tensor:
        """The layer's own weight, without LoRA, for models that look at its dtype or scale it (as PEFT's layers do)."""
        return cast("Tensor", self.base_layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The layer's own bias."""
        return cast("Tensor | None", self.base_layer.bias)

    def check_rows(self, x: Tensor) -> None:
        """See that inputs hold the rows of the batch, particle by particle.

        Args:
            x: Inputs [B, T, in] or [B T, in].

        Raises:
            InputError: If they do not.
        """
        batch = self.batch
        whole = x.dim() == 3 and x.shape[0] == batch.rows
        flat = x.dim() == 2 and batch.flat_rows and x.shape[0] == batch.rows * batch.tokens
        if not (whole or flat):
            raise InputError(
                f"Expected the layer {self.name!r} to see all {batch.rows} x {batch.tokens} tokens of the batch, as in "
                f"a dense model, but it got inputs of shape {list(x.shape)}: the model routes tokens, and particles "
                "can't share a forward pass. Set model.engine.particles to 1."
            )


class StackedLinear(ParticleLinear):
    """A linear layer and the LoRA matrices of P particles; without matrices it is the plain layer."""

    down: Tensor | None
    up: Tensor | None

    def __init__(
        self, base_layer: torch.nn.Module, name: str, scaling: float, dtype: torch.dtype, batch: BatchShape
    ) -> None:
        """Wrap a layer; see `ParticleLinear`.

        Args:
            base_layer: The frozen layer.
            name: Its path in the model.
            scaling: What the low-rank product is multiplied with: alpha / rank, as PEFT computes it.
            dtype: In what the low-rank product is computed.
            batch: Shared by all layers of the model.
        """
        super().__init__(base_layer, name, dtype, batch)
        self.scaling = scaling
        self.down = None
        self.up = None

    def carry(self, down: Tensor | None, up: Tensor | None) -> None:
        """Take the matrices of P particles, by reference; None makes it the plain layer again.

        Args:
            down: LoRA A of every particle [P, r, in].
            up: LoRA B of every particle [P, out, r].
        """
        self.down, self.up = down, up

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
        if self.down is None or self.up is None:
            return result
        particles = self.down.shape[0]
        if particles > 1:
            self.check_rows(x)
        inputs = x.to(self.dtype).reshape(particles, -1, x.shape[-1])
        if x.device.type == "cpu" and x.shape[-1] >= WIDE:
            hidden = torch.bmm(self.down, inputs.transpose(1, 2)).transpose(1, 2)
        else:
            hidden = torch.bmm(inputs, self.down.transpose(1, 2))
        if result.dtype == self.dtype and result.is_contiguous():
            # In place: another tensor of this size would cost as much as the low-rank product itself.
            flat = result.view(particles, -1, result.shape[-1])
            flat.baddbmm_(hidden, self.up.transpose(1, 2), alpha=self.scaling)
            return result
        added = torch.bmm(hidden, self.up.transpose(1, 2)).mul_(self.scaling)
        return added.view_as(result).add_(result).to(result.dtype)
