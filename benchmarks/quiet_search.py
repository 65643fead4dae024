"""Searches that write nothing and end at a budget, for the benchmarks that hold several of them against each other."""

from collections.abc import Callable
from typing import Any

import lightning as L

from swarm_lightning.callbacks import RestartStagnant
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.search import ModelSwarm


class EndAtBudget(L.Callback):
    """Ends a search behind the iteration in which it has spent what another one has."""

    def __init__(self, spent: Callable[[], int], budget: float) -> None:
        """Say what counts.

        Args:
            spent: Returns what the search has spent so far.
            budget: Where it ends.
        """
        self._spent, self._budget = spent, budget

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """End it."""
        trainer.should_stop = trainer.should_stop or self._spent() >= self._budget


def fitted(
    module: ModelSwarm, data: SwarmData, steps: int, seed: int, folder: str, *callbacks: L.Callback
) -> ModelSwarm:
    """Search on one CPU process, with restarts as published.

    Args:
        module: The search.
        data: What it is asked.
        steps: Iterations at most.
        seed: Of the search.
        folder: Of the trainer; nothing is written there.
        callbacks: Further ones.

    Returns:
        The search.
    """
    L.seed_everything(seed, verbose=False)
    trainer = SwarmTrainer(
        accelerator="cpu", devices=1, max_steps=steps, default_root_dir=folder, logger=False,
        callbacks=[RestartStagnant(), *callbacks], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, log_every_n_steps=1, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return module
