"""Exports what the search found as PEFT adapter folders with a model card.

Writing the folder is the experts' part; this callback knows when, what and where.
"""

from collections.abc import Sequence
from pathlib import Path

import lightning as L

from swarm_lightning.search.export import check_particle, export_expert
from swarm_lightning.search.model_swarm import ModelSwarm

BEST_EXPERT = "best_expert"


class ExportBest(L.Callback):
    """Writes the best found expert to `best_expert/`, and chosen personal bests to `particle_<i>/`."""

    def __init__(self, particles: Sequence[int] = ()) -> None:
        """Choose what is exported beside the best found expert.

        Args:
            particles: Particles whose personal bests are exported as well, counted from 0.
        """
        self.particles = list(particles)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse particles that do not exist, before the search.

        Raises:
            InputError: If a particle is out of range.
        """
        assert isinstance(pl_module, ModelSwarm)
        for particle in self.particles:
            check_particle(particle, pl_module.particles)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export when the search has ended, or had: Lightning calls no `on_train_end` where nothing is left to do."""
        assert isinstance(pl_module, ModelSwarm)
        test = pl_module.result(pl_module.held_back).test  # scored by all ranks, if it was not
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        # A finished search that is resumed and ends again writes the same folders once more.
        path = export_expert(pl_module, folder / BEST_EXPERT, test=test, overwrite=True)
        for particle in self.particles:
            export_expert(pl_module, folder / f"particle_{particle}", particle, overwrite=True)
        print(f"Best expert: {path}")
