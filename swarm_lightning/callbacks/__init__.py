"""What happens around an iteration: the first look, restarts, patience, records, progress, export and the summary."""

from swarm_lightning.callbacks.checkpoint import SwarmCheckpoint
from swarm_lightning.callbacks.defaults import default_callbacks
from swarm_lightning.callbacks.export import ExportBest
from swarm_lightning.callbacks.first_look import FirstLook
from swarm_lightning.callbacks.forecast import Forecast
from swarm_lightning.callbacks.history import History
from swarm_lightning.callbacks.metrics_file import ContinuedCSVLogger, ContinueMetrics
from swarm_lightning.callbacks.orderly_end import OrderlyEnd
from swarm_lightning.callbacks.patience import StopOnPlateau
from swarm_lightning.callbacks.predictions import PredictionWriter
from swarm_lightning.callbacks.progress import SwarmProgress
from swarm_lightning.callbacks.replies import Replies
from swarm_lightning.callbacks.restart import RestartStagnant
from swarm_lightning.callbacks.run_record import RunRecord
from swarm_lightning.callbacks.summary import Summary
from swarm_lightning.callbacks.verdict import Verdict

__all__ = [
    "ContinueMetrics",
    "ContinuedCSVLogger",
    "ExportBest",
    "FirstLook",
    "Forecast",
    "History",
    "OrderlyEnd",
    "PredictionWriter",
    "Replies",
    "RestartStagnant",
    "RunRecord",
    "StopOnPlateau",
    "Summary",
    "SwarmCheckpoint",
    "SwarmProgress",
    "Verdict",
    "default_callbacks",
]
