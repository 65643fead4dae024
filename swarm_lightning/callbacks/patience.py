"""Stops the search when the global best has stopped rising.

The rule is in `swarm/rules.py`; what it counts is part of the swarm's state. Source: the authors' code.
"""

from collections.abc import Iterable
from typing import Any

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from swarm_lightning.errors import InputError
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.swarm.rules import exhausted


class StopOnPlateau(L.Callback):
    """Ends the search once the last values of the global best's utility are all equal.

    An optimizer whose particles do not move has no such values, and always does all of its steps.
    """

    def __init__(self, patience: int | None = 10) -> None:
        """Set how long the search waits for an improvement.

        Args:
            patience: Number of iterations with equal values of the global best after which the search stops, >= 1;
                null: never.

        Raises:
            InputError: If the patience is below 1.
        """
        if patience is not None and patience < 1:
            raise InputError(f"Expected the patience to be at least 1, or null for none, but got {patience}.")
        self.patience = patience
        # Whether the search has ended because its global best had stopped rising.
        self.stopped = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say so where nothing can stop rising."""
        assert isinstance(pl_module, ModelSwarm)
        optimizer = pl_module.particle_swarm
        if self.patience is not None and not optimizer.moves_particles:
            rank_zero_info(
                f"stop.patience {self.patience} does nothing: {type(optimizer).__name__} has no global best: "
                "it does the steps that it is set."
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do no further iteration if the resumed search had already stopped."""
        assert isinstance(pl_module, ModelSwarm)
        if pl_module.particle_swarm.begun:
            self._stop_if_exhausted(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask after every iteration whether there is a next one."""
        assert isinstance(pl_module, ModelSwarm)
        self._stop_if_exhausted(trainer, pl_module)

    def _stop_if_exhausted(self, trainer: L.Trainer, pl_module: ModelSwarm) -> None:
        moves = pl_module.particle_swarm.moves_particles
        if moves and self.patience is not None and exhausted(pl_module.swarm, self.patience):
            trainer.should_stop = self.stopped = True


def patience_of(callbacks: Iterable[L.Callback]) -> int | None:
    """Return the patience that ends a search with these callbacks; None where none does."""
    return next((one.patience for one in callbacks if isinstance(one, StopOnPlateau)), None)
