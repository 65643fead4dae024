"""The callbacks of `swarm fit`, for your own Trainer."""

import lightning as L

from swarm_lightning.callbacks.checkpoint import SwarmCheckpoint
from swarm_lightning.callbacks.export import ExportBest
from swarm_lightning.callbacks.history import History
from swarm_lightning.callbacks.patience import StopOnPlateau
from swarm_lightning.callbacks.progress import SwarmProgress
from swarm_lightning.callbacks.replies import Replies
from swarm_lightning.callbacks.restart import RestartStagnant
from swarm_lightning.callbacks.run_record import RunRecord
from swarm_lightning.callbacks.summary import Summary


def default_callbacks(progress: bool = True) -> list[L.Callback]:
    """Return new callbacks, in order: restarts, patience, checkpoint, records, progress, summary and export.

    Args:
        progress: Whether to show the progress.
    """
    bar: list[L.Callback] = [SwarmProgress()] if progress else []
    files: list[L.Callback] = [SwarmCheckpoint(), History(), Replies(), ExportBest()]
    # The bar is closed before the summary is printed, and the record tells of all that came before.
    return [RestartStagnant(), StopOnPlateau(), *files, *bar, Summary(), RunRecord()]
