"""The one order in which the tensors of an adapter become a vector [D], and the way back.

Names are sorted, so that the order does not depend on how a file was written. Vectors are float32: every float16 and
bfloat16 number is one exactly. Knows nothing of files or models.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm_lightning.errors import InputError


@dataclass(frozen=True)
class Layout:
    """Names and shapes of an adapter's tensors, in the order in which they stand in a vector.

    Attributes:
        names: Tensor names as they stand in the adapter's file, sorted.
        shapes: The shape of each.

    >>> layout = Layout.of({"b": torch.tensor([[3.0], [4.0]]), "a": torch.tensor([1.0, 2.0])})
    >>> layout.names, layout.size
    (('a', 'b'), 4)
    >>> layout.unflatten(torch.tensor([1.0, 2.0, 3.0, 4.0]))["b"].tolist()
    [[3.0], [4.0]]
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Layout":
        """Return the layout that fits these tensors."""
        names = tuple(sorted(tensors))
        return cls(names, tuple(tuple(tensors[name].shape) for name in names))

    @property
    def size(self) -> int:
        """The number of weights D."""
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Number of weights of each tensor."""
        return [math.prod(shape) for shape in self.shapes]

    def flatten(self, tensors: Mapping[str, Tensor], out: Tensor | None = None) -> Tensor:
        """Write tensors one after the other into a vector.

        Args:
            tensors: One tensor for each name of the layout, of its shape and any floating dtype.
            out: Vector [D], float32, to write into; a new one is made where it is absent.

        Returns:
            The vector [D], float32.

        Raises:
            InputError: If a tensor is missing, unknown, or of another shape.
        """
        self._check(tensors)
        if out is None:
            out = torch.empty(self.size, dtype=torch.float32)
        for name, part in self.unflatten(out).items():
            part.copy_(tensors[name])
        return out

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the tensors of a vector by name: views into it, no copy.

        Args:
            vector: Weights [D] of any dtype.

        Raises:
            ValueError: If the vector's shape is not [D].
        """
        if tuple(vector.shape) != (self.size,):
            raise ValueError(f"Expected a vector of shape [{self.size}], but got shape {list(vector.shape)}.")
        parts = vector.split(self.sizes)
        return {name: part.view(shape) for name, shape, part in zip(self.names, self.shapes, parts, strict=True)}

    def unstack(self, vectors: Tensor) -> dict[str, Tensor]:
        """Return the tensors of many vectors by name, each with the vectors' dimension in front: views, no copy.

        Args:
            vectors: Weights [P, D] of any dtype.

        Returns:
            For every name of the layout a tensor [P, *shape].

        Raises:
            ValueError: If the vectors' shape is not [P, D].
        """
        if vectors.dim() != 2 or vectors.shape[1] != self.size:
            raise ValueError(f"Expected vectors of shape [P, {self.size}], but got shape {list(vectors.shape)}.")
        parts = vectors.split(self.sizes, dim=1)
        return {
            name: part.view(len(vectors), *shape)
            for name, shape, part in zip(self.names, self.shapes, parts, strict=True)
        }

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        missing = [name for name in self.names if name not in tensors]
        if missing:
            raise InputError(
                f"Expected the {len(self.names)} tensors of the layout, but {len(missing)} are missing, first "
                f"{missing[0]!r}. Give the tensors of an adapter with the same LoraConfig."
            )
        unknown = sorted(set(tensors) - set(self.names))
        if unknown:
            raise InputError(
                f"Expected only the {len(self.names)} tensors of the layout, but got {len(unknown)} more, first "
                f"{unknown[0]!r}. Give the tensors of an adapter with the same LoraConfig."
            )
        for name, shape in zip(self.names, self.shapes, strict=True):
            if tuple(tensors[name].shape) != shape:
                raise InputError(
                    f"Expected shape {list(shape)} for {name!r}, but got {list(tensors[name].shape)}. Give the "
                    "tensors of an adapter with the same rank on the same base."
                )
