"""What loggers get when a search has ended: its scores with their gain, and on request the adapter that it found."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from swarm_lightning.errors import InputError
from swarm_lightning.search.results import SearchResult, metrics_of


def log_result(loggers: Sequence[Logger], result: SearchResult) -> None:
    """Log the scores of a search behind its last iteration, under the names that `validate` and `test` give them.

    Weights & Biases and MLflow show the last value of a name as that of the run. TensorBoard compares runs by
    `hp_metric`: it gets the score of the best found expert on test, or on validation where there is no test split.

    Args:
        loggers: Of the trainer.
        result: Of the search.
    """
    metrics = metrics_of(result.validation, "validation") | metrics_of(result.test, "test")
    metrics |= {"swarm/iterations": float(result.iterations), "time/search_seconds": result.seconds}
    found = (result.test or result.validation)[1].utility
    for logger in loggers:
        further = {"hp_metric": found} if isinstance(logger, TensorBoardLogger) else {}
        logger.log_metrics({**metrics, **further}, step=result.iterations)
        logger.save()


def check_takes_artifacts(loggers: Sequence[Logger]) -> None:
    """Refuse to log a folder where no logger keeps any.

    Args:
        loggers: Of the trainer.

    Raises:
        InputError: If there is neither a Weights & Biases nor an MLflow logger.
    """
    if not any(isinstance(logger, WandbLogger | MLFlowLogger) for logger in loggers):
        names = ", ".join(type(logger).__name__ for logger in loggers) or "no logger"
        raise InputError(
            "Expected a WandbLogger or an MLFlowLogger in trainer.logger for export_best.log_artifact, but there is "
            f"{names}. Set one of them, or leave log_artifact out."
        )


def log_folder(loggers: Sequence[Logger], folder: Path) -> None:
    """Hand a folder to every logger that keeps files: an artifact of the type model of Weights & Biases, or of MLflow.

    Args:
        loggers: Of the trainer.
        folder: What is kept, under its own name.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            artifact = wandb.Artifact(f"{folder.name}-{logger.version}", type="model")
            artifact.add_dir(str(folder))
            logger.experiment.log_artifact(artifact)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifacts(logger.run_id, str(folder), folder.name)
