"""One progress bar over the iterations of the search, instead of Lightning's one bar per epoch of one batch."""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from swarm_lightning.search.model_swarm import ModelSwarm


class SwarmProgress(ProgressBar):
    """Shows iteration, global best, mean, step length and evaluated examples per second."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm | None = None
        self._enabled = True

    def disable(self) -> None:
        """Show nothing, as Lightning asks on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar, where a resumed search left it."""
        assert isinstance(pl_module, ModelSwarm)
        total = trainer.max_steps if trainer.max_steps > 0 else trainer.max_epochs
        most = pl_module.particle_swarm.most_steps
        total = total if most is None else most if total is None or total < 0 else min(total, most)
        done = int(pl_module.swarm.iterations) if pl_module.particle_swarm.begun else 0
        self._bar = tqdm(
            total=total, initial=done, desc="search", unit="iteration", file=sys.stdout, disable=not self._enabled,
            dynamic_ncols=True,
        )  # fmt: skip
        if not pl_module.particle_swarm.begun:
            self._bar.set_postfix_str("evaluating the first positions")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Show the first positions as soon as they are evaluated."""
        assert isinstance(pl_module, ModelSwarm)
        if (
            int(pl_module.swarm.iterations) == 0 and pl_module.state.metrics
        ):  # a resumed search has measured nothing yet
            self._show(pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by one iteration."""
        assert isinstance(pl_module, ModelSwarm)
        if self._bar is not None:
            self._bar.update(1)
        self._show(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message does not share its line."""
        if self._bar is not None:
            self._bar.close()

    def _show(self, module: ModelSwarm) -> None:
        if self._bar is None:
            return
        metrics = module.state.metrics
        if module.particle_swarm.moves_particles:
            reached = f"best {metrics['global_best']:.3f}, mean of personal bests {metrics['personal_best_mean']:.3f}, "
            reached += f"step length {metrics['step_length']:.2f}"
        else:
            reached = f"start {metrics['start']:.3f}, mean of candidates {metrics['candidate_mean']:.3f}, "
            reached += f"step length {metrics['step_length']:.4f}"
        self._bar.set_postfix_str(f"{reached}, {metrics['examples_per_second']:.0f} examples/s")
