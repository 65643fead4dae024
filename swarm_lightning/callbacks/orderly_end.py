"""Ends a run on a signal without losing anything, and under SLURM requeues its job.

Lightning 2.6.6 ends a run after the iteration but before it is saved, and under SLURM saves a checkpoint from within
its handler, in the middle of a move. For where a run ends instead see `evaluation/interruption.py`.
"""

import os
import re
import subprocess

import lightning as L
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from swarm_lightning.doors.lightning import cluster_environment_of
from swarm_lightning.evaluation import interruption

REQUEUE_SECONDS = 30.0


class OrderlyEnd(L.Callback):
    """Handles SIGTERM, SIGUSR1 and SLURM's requeue signal."""

    def __init__(self) -> None:
        # The signal after which SLURM is to start the job again; None where nobody wants that.
        self.requeue_signal: int | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the requeueing over from Lightning, before it listens."""
        environment = cluster_environment_of(trainer)
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            environment.auto_requeue = False
            self.requeue_signal = environment.requeue_signal

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen from now on, in Lightning's place."""
        interruption.listen({*interruption.SIGNALS, *([self.requeue_signal] if self.requeue_signal else [])})

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Ask SLURM to start the job again, if the signal to do so has ended it."""
        wanted = isinstance(exception, interruption.Interrupted) and exception.signal == self.requeue_signal
        if wanted and trainer.is_global_zero:
            _requeue()


def _requeue() -> None:
    job = os.environ.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if not re.fullmatch(r"[0-9_-]+", job):
        return
    command = ["scontrol", "requeue", job]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=REQUEUE_SECONDS)
        print(f"Requeued: SLURM starts job {job} again.")
    except (OSError, subprocess.SubprocessError) as error:
        rank_zero_warn(f"SLURM does not start job {job} again: `{' '.join(command)}` failed ({error}).")
