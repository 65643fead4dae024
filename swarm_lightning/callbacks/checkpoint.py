"""Saves the swarm after every iteration, into the run folder.

A `ModelCheckpoint` whose defaults fit a swarm: one file, `checkpoints/last.ckpt`, that is replaced as a whole. One
batch is one epoch is one iteration, so it saves at the end of the epoch.
"""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from swarm_lightning.errors import InputError
from swarm_lightning.search.run_folder import CHECKPOINTS, LAST


class SwarmCheckpoint(ModelCheckpoint):
    """Keeps the latest state of the search, and on request every state."""

    def __init__(self, dirpath: str | None = None, every_n_iterations: int = 1, keep_all: bool = False) -> None:
        """Set where and how often the swarm is saved.

        Args:
            dirpath: Folder of the checkpoints; `checkpoints` in the run folder if None.
            every_n_iterations: Iterations between two checkpoints, >= 1.
            keep_all: Whether the checkpoint of every iteration is kept beside `last.ckpt`.

        Raises:
            InputError: If there is less than one iteration between two checkpoints.
        """
        if every_n_iterations < 1:
            raise InputError(f"Expected every_n_iterations to be at least 1, but got {every_n_iterations}.")
        # With `save_top_k=0`, Lightning 2.6.6 saves the last checkpoint at the end of the training only. So `last.ckpt`
        # is either the one best checkpoint (with nothing to monitor, the latest), or a companion of all others.
        super().__init__(
            dirpath=dirpath,
            filename="iteration_{step}" if keep_all else Path(LAST).stem,
            auto_insert_metric_name=False,
            save_last=keep_all,
            save_top_k=-1 if keep_all else 1,
            every_n_epochs=every_n_iterations,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.every_n_iterations = every_n_iterations

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the run folder for the checkpoints unless another folder was given."""
        if self.dirpath is None:
            self.dirpath = str(Path(trainer.default_root_dir) / CHECKPOINTS)
        super().setup(trainer, pl_module, stage)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save where the search ended, if that is between two checkpoints."""
        if trainer.global_step % self.every_n_iterations:
            trainer.save_checkpoint(Path(str(self.dirpath)) / LAST)
