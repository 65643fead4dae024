"""The schedule of the step length: a constant factor per iteration, down to a floor.

The step length is the learning rate of the particle swarm, so any scheduler of torch can take this one's place.
Source: the authors' code, `step_length_factor` and `minimum_step_length`.
"""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class StepLengthDecay(LRScheduler):
    """Multiply the step length by a factor after every iteration, down to a floor.

    Optimizers that shorten their steps themselves are left alone.
    """

    def __init__(self, optimizer: Optimizer, factor: float = 0.95, minimum: float = 0.1) -> None:
        """Attach the schedule to a particle swarm.

        Args:
            optimizer: The particle swarm whose `lr` is the step length.
            factor: Multiplier per iteration, in (0, 1]; 1 keeps the step length.
            minimum: Floor of the step length, >= 0.

        Raises:
            ValueError: If the factor or the floor is out of range.
        """
        if not 0 < factor <= 1:
            raise ValueError(f"Expected the factor of the step length to be in (0, 1], but got {factor}.")
        if not minimum >= 0:
            raise ValueError(f"Expected the minimum of the step length to be >= 0, but got {minimum}.")
        self.factor = factor
        self.minimum = minimum
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """Return the step length of the next iteration, one per parameter group."""
        lengths = [float(group["lr"]) for group in self.optimizer.param_groups]
        if self.last_epoch == 0 or getattr(self.optimizer, "shortens_itself", False):
            return lengths
        return [max(length * self.factor, self.minimum) for length in lengths]
