"""The settings of a swarm: how far each term pulls, what is random, what is left out, and what does the arithmetic."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

from swarm_lightning.swarm.population import FirstVelocity
from swarm_lightning.swarm.rules import Coefficients

Kernel = Literal["auto", "compiled", "plain"]
Own = TypeVar("Own", bound="OptimizerSettings")


@dataclass(frozen=True)
class OptimizerSettings:
    """Settings that an optimizer keeps in its parameter group, beside others."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values by name."""
        return asdict(self)

    @classmethod
    def from_group(cls: type[Own], group: Mapping[str, Any]) -> Own:
        """Read them from a parameter group of an optimizer, which holds more than these.

        >>> SwarmSettings.from_group({"lr": 0.75, **SwarmSettings(repel=0.0).to_dict()}).repel
        0.0
        """
        return cls(**{name: group[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class SwarmSettings(OptimizerSettings):
    """What makes one iteration of a swarm what it is, beside its step length.

    Attributes:
        inertia: Weight φ_v of the present velocity, >= 0.
        cognitive: Weight φ_p of the pull towards the particle's personal best, >= 0.
        social: Weight φ_g of the pull towards the global best, >= 0.
        repel: Weight φ_w of the push away from the global worst, >= 0; 0 switches the repel term off, and then the
            global worst stays the worst of the first positions: nothing depends on how low a later utility is.
        randomness: Whether each term of each particle, or of each of its groups of numbers, is multiplied by a number
            drawn from U(0, 1).
        first_velocity: `random`, `zero` or `best`.
        drop_iteration: Probability in [0, 1) that an iteration evaluates no particle (drop-K).
        drop_particle: Probability in [0, 1) that a particle is not evaluated in an iteration (drop-N).
        kernel: What moves the particles: `plain`, `compiled`, or `auto` until the search begins.
    """

    inertia: float = 0.2
    cognitive: float = 0.3
    social: float = 0.4
    repel: float = 0.05
    randomness: bool = True
    first_velocity: FirstVelocity = "random"
    drop_iteration: float = 0.0
    drop_particle: float = 0.0
    kernel: Kernel = "auto"

    def __post_init__(self) -> None:
        """Refuse what no swarm can be moved by."""
        for name in ("drop_iteration", "drop_particle"):
            probability = getattr(self, name)
            if not 0 <= probability < 1:
                raise ValueError(f"Expected {name} to be a probability in [0, 1), but got {probability}.")
        if self.first_velocity not in get_args(FirstVelocity):
            raise ValueError(
                f"Expected first_velocity to be 'random', 'zero' or 'best', but got {self.first_velocity!r}."
            )
        if self.kernel not in get_args(Kernel):
            raise ValueError(f"Expected kernel to be 'auto', 'compiled' or 'plain', but got {self.kernel!r}.")
        _ = self.coefficients

    @property
    def coefficients(self) -> Coefficients:
        """The weights of the four terms."""
        return Coefficients(self.inertia, self.cognitive, self.social, self.repel)
