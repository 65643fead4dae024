"""What happens beside the training of an adapter: checkpoints that are whole at any moment, and one progress bar."""

import sys
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from tqdm import tqdm

from swarm_lightning.files import storage_errors, whole_file
from swarm_lightning.shown import written_out
from swarm_lightning.tuning.module import AdapterTraining


class KeepState(Checkpoint):
    """Saves the training every few steps into one file, which is replaced as a whole."""

    def __init__(self, path: Path, every: int) -> None:
        """Set where and how often.

        Args:
            path: The checkpoint's file.
            every: Steps between two checkpoints, >= 1.
        """
        self.path = path
        self.every = every

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, if it is time: the end of an epoch, which is one step, is a state that can be resumed."""
        if trainer.global_step % self.every:
            return
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as partial:
            trainer.save_checkpoint(partial, weights_only=False)  # the optimizer too


class TrainingProgress(ProgressBar):
    """Shows step, loss and learning rate, instead of Lightning's one bar per epoch of one batch."""

    def __init__(self, name: str) -> None:
        """Set what the bar is called.

        Args:
            name: The expert's name.
        """
        super().__init__()
        self._name = name
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar where the training begins or goes on."""
        self._bar = tqdm(
            total=trainer.max_steps, initial=trainer.global_step, desc=written_out(self._name), unit="step",
            file=sys.stdout, dynamic_ncols=True,
        )  # fmt: skip

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by one step."""
        assert isinstance(pl_module, AdapterTraining)
        if self._bar is not None:
            self._bar.update(1)
            held_out = "" if pl_module.held_out_loss is None else f", held out {pl_module.held_out_loss:.4f}"
            self._bar.set_postfix_str(f"loss {pl_module.loss:.4f}{held_out}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message does not share its line."""
        if self._bar is not None:
            self._bar.close()
