"""Particles as mixing numbers: one per expert, which weighs its next-token distribution.

The space has only positions [N, n]; the runner applies the numbers. A single expert is 1 at its index and 0 elsewhere,
so the published rules apply unchanged: a child t a + (1 - t) b of two experts has t for one and 1 - t for the other,
and moves keep the sum of the numbers at 1 if a particle's numbers share their random numbers.
"""

from torch import Tensor

from swarm_lightning.swarm.space import Circumstances
from swarm_lightning.swarm.spaces.dense import DenseSpace, DrawnEach


class MixtureSpace(DenseSpace):
    """All mixtures of n experts; positions are mixing numbers [N, n].

    >>> import torch
    >>> from swarm_lightning.swarm.population import Start
    >>> from swarm_lightning.swarm.space import Material
    >>> space = MixtureSpace(Material(torch.eye(2), sizes=[2]))
    >>> first = space.first_positions(Start(), 3, 2.0, torch.Generator().manual_seed(0))
    >>> first[:2].tolist(), round(float(first[2].sum()), 4)
    ([[1.0, 0.0], [0.0, 1.0]], 1.0)
    """

    @classmethod
    def check(cls, circumstances: Circumstances) -> None:
        """Reject initial populations with more than the experts: a base or a sparsified expert has no number.

        Raises:
            ValueError: If one is requested.
        """
        if circumstances.start.kind != "experts":
            raise ValueError(
                f"Expected model.start.kind to be experts with model.mixture, but got {circumstances.start.kind!r}. "
                "Leave it out; to begin with the base too, give it among model.experts."
            )

    def coefficients(self, held: Tensor) -> Tensor:
        """Return the mixing numbers [n, 1]: they are the position."""
        return held.unsqueeze(1)


class DrawnMixtureSpace(DrawnEach, MixtureSpace):
    """The same mixtures, with separate random numbers for each number."""
