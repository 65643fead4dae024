"""The spaces that a swarm can move in, by name; a new one is a file beside these and a line here."""

from swarm_lightning.swarm.space import Space
from swarm_lightning.swarm.spaces.coefficients import CoefficientSpace
from swarm_lightning.swarm.spaces.dense import DenseSpace, TensorSpace
from swarm_lightning.swarm.spaces.divided import DividedSpace, DrawnDividedSpace
from swarm_lightning.swarm.spaces.graphs import GraphSpace
from swarm_lightning.swarm.spaces.mixture import DrawnMixtureSpace, MixtureSpace
from swarm_lightning.swarm.spaces.rows_on_disk import RowSpace

__all__ = [
    "SPACES",
    "CoefficientSpace",
    "DenseSpace",
    "DividedSpace",
    "DrawnDividedSpace",
    "DrawnMixtureSpace",
    "GraphSpace",
    "MixtureSpace",
    "RowSpace",
    "Space",
    "TensorSpace",
]

# `storage`/`draws`, the settings of a search that choose one; behind it `/coefficients`, `/mixture` or `/graphs` where
# that is set.
SPACES: dict[str, type[Space]] = {
    "memory/particle": DenseSpace,
    "memory/tensor": TensorSpace,
    "memory/coefficient": CoefficientSpace,
    "disk/particle": RowSpace,
    "memory/particle/coefficients": DividedSpace,
    "memory/coefficient/coefficients": DrawnDividedSpace,
    "memory/particle/graphs": GraphSpace,
    "memory/particle/mixture": MixtureSpace,
    "memory/coefficient/mixture": DrawnMixtureSpace,
}
