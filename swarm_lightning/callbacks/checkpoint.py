"""Saves the swarm after every iteration, into the run folder, so that it can be killed at any instant.

A `ModelCheckpoint` whose defaults fit a swarm: one file, `checkpoints/last.ckpt`, which is replaced atomically, for the
first time when the first positions are scored. One iteration is one batch and one epoch, so it saves at the end of the
epoch. The scores of the running iteration are saved beside it as they arrive. While the search runs, its folder is
locked.
"""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from swarm_lightning.doors.lightning import last_saved_step
from swarm_lightning.errors import InputError
from swarm_lightning.runs.checkpoint_file import WholeCheckpointIO
from swarm_lightning.runs.run_folder import CHECKPOINTS, LAST
from swarm_lightning.runs.run_lock import RunLock, hold_run
from swarm_lightning.search.model_swarm import ModelSwarm


class SwarmCheckpoint(ModelCheckpoint):
    """Keeps the latest state of the search, and on request every state."""

    def __init__(self, dirpath: str | None = None, every_n_iterations: int = 1, keep_all: bool = False) -> None:
        """Set where and how often the swarm is saved.

        Args:
            dirpath: Folder of the checkpoints; null for `checkpoints` in the run folder.
            every_n_iterations: Iterations between two checkpoints, >= 1.
            keep_all: Whether to keep the checkpoint of every iteration, besides `last.ckpt`.

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
        self._lock: RunLock | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the run folder for the checkpoints unless another folder was given."""
        if self.dirpath is None:
            self.dirpath = str(Path(trainer.default_root_dir) / CHECKPOINTS)
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # not where the user has chosen another
            trainer.strategy.checkpoint_io = WholeCheckpointIO()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up nothing: where a search writes to is its own to say, and the folder may go by another name now."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the run folder for this process, and keep scores from now on.

        Raises:
            InputError: If another process searches there.
        """
        assert isinstance(pl_module, ModelSwarm)
        if trainer.is_global_zero:
            self._lock = hold_run(Path(trainer.default_root_dir))
        pl_module.keep_running_scores(Path(str(self.dirpath)))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the first positions, once they are scored."""
        assert isinstance(pl_module, ModelSwarm)
        if int(pl_module.swarm.iterations) == 0 and pl_module.state.evaluation is not None:
            self._save_now(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the iteration if it is due; the checkpoint then holds its scores."""
        assert isinstance(pl_module, ModelSwarm)
        if pl_module.state.evaluation is None:
            return  # Lightning ends the epoch of the checkpoint once more when it resumes; nothing has been scored yet
        super().on_train_epoch_end(trainer, pl_module)
        if last_saved_step(self) == trainer.global_step:
            pl_module.journal.clear()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save where the search ended, if that is between two checkpoints, or it has done no iteration."""
        assert isinstance(pl_module, ModelSwarm)
        if trainer.global_step % self.every_n_iterations or pl_module.particle_swarm.chosen and not trainer.global_step:
            self._save_now(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave no scores behind: a search that was killed when they were saved and not yet gone has no further one."""
        assert isinstance(pl_module, ModelSwarm)
        pl_module.journal.clear()
        pl_module.forget_results()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Let others have the folder."""
        super().on_exception(trainer, pl_module, exception)
        self._release()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let others have the folder."""
        self._release()

    def _save_now(self, trainer: L.Trainer, module: ModelSwarm) -> None:
        trainer.save_checkpoint(Path(str(self.dirpath)) / LAST, weights_only=False)  # with the optimizer
        module.journal.clear()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
