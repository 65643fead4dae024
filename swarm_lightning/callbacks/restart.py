"""Restarts particles that have not found a new personal best for a while.

The rule is in `swarm/rules.py`; the count of waiting iterations is part of the swarm's state, so a resumed run
restarts as an uninterrupted one does. Source: arXiv:2410.11163, and the authors' code for how stagnation is counted.
"""

from typing import Any

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from swarm_lightning.errors import InputError
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.settings import check_same_search
from swarm_lightning.swarm.optimizer import ParticleSwarm


class RestartStagnant(L.Callback):
    """Puts a stagnant particle back on its personal best, at rest, before it moves."""

    def __init__(self, patience: int | None = 5, cool_down: bool = False) -> None:
        """Set when a particle is restarted.

        Args:
            patience: Number of iterations without a new personal best after which a particle restarts, counted from the
                one that set it, >= 1; null: no restarts.
            cool_down: Whether the count starts again after a restart. The published method keeps counting, so that a
                stuck particle restarts in every iteration until it improves.

        Raises:
            InputError: If the patience is below 1.
        """
        if patience is not None and patience < 1:
            raise InputError(f"Expected the restart patience to be at least 1, or null for none, but got {patience}.")
        self.patience = patience
        self.cool_down = cool_down

    def state_dict(self) -> dict[str, Any]:
        """Return the settings, for the checkpoint."""
        return {"restart.patience": self.patience, "restart.cool_down": self.cool_down}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from a search that restarted by another rule.

        Raises:
            InputError: If patience or cool-down differ.
        """
        saved = checkpoint.get("callbacks", {}).get(self.state_key)
        if trainer.state.fn == "fit" and saved is not None:
            check_same_search(saved, self.state_dict())

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say so where there is nothing to restart."""
        assert isinstance(pl_module, ModelSwarm)
        if self.patience is not None and not pl_module.particle_swarm.moves_particles:
            name = type(pl_module.particle_swarm).__name__
            rank_zero_info(f"restart.patience {self.patience} does nothing: {name} moves no particles to restart.")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restart what is due before the iteration."""
        assert isinstance(pl_module, ModelSwarm)
        swarm = pl_module.particle_swarm
        if self.patience is not None and isinstance(swarm, ParticleSwarm):  # nothing else has particles that move
            swarm.restart_stagnant(self.patience, self.cool_down)
