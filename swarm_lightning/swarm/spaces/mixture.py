"""Particles as mixing numbers: one for each expert, by which its next-token distribution is weighed.

Positions [N, n] are all there is; what the numbers do is the business of whoever mixes. An expert alone is 1 at its
place and 0 elsewhere, so the published rules apply as they are: a child t a + (1 - t) b of two experts has t for the
one and 1 - t for the other, and moves keep the sum of the numbers at 1 where all of a particle is moved by the same
random numbers.
"""

from torch import Tensor

from swarm_lightning.swarm.space import Circumstances, Material
from swarm_lightning.swarm.spaces.dense import DenseSpace, refuse_compiled


class MixtureSpace(DenseSpace):
    """All mixtures of n experts; positions are mixing numbers [N, n].

    >>> import torch
    >>> from swarm_lightning.swarm.population import Start
    >>> space = MixtureSpace(Material(torch.eye(2), sizes=[2]))
    >>> first = space.first_positions(Start(), 3, 2.0, torch.Generator().manual_seed(0))
    >>> first[:2].tolist(), round(float(first[2].sum()), 4)
    ([[1.0, 0.0], [0.0, 1.0]], 1.0)
    """

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Refuse a start with more than the experts: a base or a part of an expert has no number.

        Raises:
            ValueError: If it is wanted.
        """
        if circumstances.start.kind != "experts":
            raise ValueError(
                f"Expected model.start.kind to be experts with model.mixture, but got {circumstances.start.kind!r}. "
                "Leave it out; to begin with the base too, give it among model.experts."
            )

    def coefficients(self, held: Tensor) -> Tensor:
        """Return the mixing numbers [n, 1]: they are the position."""
        return held.unsqueeze(1)


class DrawnMixtureSpace(MixtureSpace):
    """The same mixtures, each number moved with random numbers of its own."""

    def __init__(self, material: Material) -> None:
        """Take what the space is made of; see `DenseSpace`."""
        super().__init__(material)
        self.groups = [1] * len(material.experts)

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Refuse the compiled kernel too.

        Raises:
            ValueError: If something is wanted that does not go with it.
        """
        super().check(circumstances)
        refuse_compiled(circumstances, "coefficient")
