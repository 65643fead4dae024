"""Lightning's trainer, strategies, callbacks and CSV logger, where their documented parts do not suffice.

Tested with lightning 2.6.6. Relied on, besides what is documented:

- `trainer.connectors.accelerator_connector._AcceleratorConnector(accelerator, devices, num_nodes).strategy`: the
  strategy that a Trainer with these arguments would have.
- `Trainer._accelerator_connector.cluster_environment`, with SLURM for a single process too.
- `Trainer._signal_connector.received_sigterm`: set, it ends a run between two iterations.
- `ModelCheckpoint._last_global_step_saved`: the step of the last checkpoint that was written.
- `DDPStrategy._configure_launcher` makes `Strategy._launcher`, in which a run starts.
- `strategies.launchers.subprocess_script._SubprocessScriptLauncher`: `procs`, `cluster_environment`, `num_processes`,
  `num_nodes`, `kill`, and `_call_children_scripts`, which starts the processes.
- `fabric.utilities.distributed._set_num_threads_if_needed`.
- `CSVLogger._experiment` is what writes the file; `ExperimentWriter` has `log_dir`, `metrics`, `hparams`,
  `metrics_file_path`, `NAME_HPARAMS_FILE`, and empties its folder in `_check_log_dir_exists`.
- A `CombinedLoader` is looked through by its `flattened` loaders, and a validation without any is done with in every
  epoch. (An empty list of loaders is warned of; with `Trainer.limit_val_batches` 0, a run that is resumed from the end
  of an epoch counts its epochs otherwise.)
- `rank_zero_only.rank` is not there before Lightning knows the rank.
"""

import subprocess
from typing import Any

import lightning as L
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.rank_zero import rank_zero_only


def runs_several_processes(accelerator: Any, devices: Any, num_nodes: int = 1) -> bool:
    """Tell whether a Trainer with these arguments runs more than one process.

    Args:
        accelerator: Any that a Trainer takes.
        devices: Any that a Trainer takes.
        num_nodes: Number of machines.
    """
    connector = _AcceleratorConnector(accelerator=accelerator, devices=devices, num_nodes=num_nodes)
    return isinstance(connector.strategy, ParallelStrategy)


def known_rank() -> int:
    """Return which rank this process is, as far as Lightning knows: from the environment before the ranks meet."""
    return getattr(rank_zero_only, "rank", 0)


def cluster_environment_of(trainer: L.Trainer) -> ClusterEnvironment | None:
    """Return what has started the processes of a trainer's run, where there is one process too."""
    return trainer._accelerator_connector.cluster_environment


def end_between_iterations(trainer: L.Trainer) -> None:
    """Let a run end as one that has received SIGTERM, before its next iteration."""
    trainer._signal_connector.received_sigterm = True


def last_saved_step(checkpoint: ModelCheckpoint) -> int:
    """Return the `global_step` of the last checkpoint that a callback has written."""
    return checkpoint._last_global_step_saved


class NoLoaders(CombinedLoader):
    """What a data module gives where nothing is to be looked at."""

    def __init__(self) -> None:
        super().__init__([], "sequential")

    @property
    def flattened(self) -> list[Any]:
        """No loader."""
        return []

    @flattened.setter
    def flattened(self, flattened: list[Any]) -> None:
        """Stay without any."""


def set_threads(processes: int) -> None:
    """Share the cores out among the processes of this machine, unless OMP_NUM_THREADS says otherwise."""
    _set_num_threads_if_needed(num_processes=processes)


class ScriptLauncher(_SubprocessScriptLauncher):
    """Starts one process per further rank of this machine, by the command that has started this one.

    To be derived from: `launch` is for the heirs.
    """

    @property
    def processes(self) -> "list[subprocess.Popen[bytes]]":
        """Those that were started."""
        return self.procs

    @property
    def environment(self) -> ClusterEnvironment:
        """What knows of other ranks."""
        return self.cluster_environment

    def start_processes(self) -> None:
        """Start one process per further rank of this machine."""
        self._call_children_scripts()


class LaunchingStrategy(DDPStrategy):
    """A `DDPStrategy` whose ranks a launcher of one's own starts."""

    def make_launcher(self, environment: ClusterEnvironment) -> ScriptLauncher:
        """Make the launcher.

        Args:
            environment: What knows of other ranks.
        """
        raise NotImplementedError

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = self.make_launcher(self.cluster_environment)


class RowWriter(ExperimentWriter):
    """What writes the file of a `CSVLogger`, and leaves what lies in its folder; `save` is for the heirs.

    Attributes:
        log_dir: The folder.
        metrics: Rows that were logged and not yet saved.
        hparams: Settings that were logged.
        metrics_file_path: The file with the rows.
        NAME_HPARAMS_FILE: Name of the file with the settings.
    """

    def _check_log_dir_exists(self) -> None:
        """Leave what is there."""


class OwnCSVLogger(CSVLogger):
    """A `CSVLogger` whose file a writer of one's own writes."""

    def make_writer(self) -> RowWriter:
        """Make the writer, on the first rank, when something is logged for the first time."""
        raise NotImplementedError

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """What writes the file; on the first rank only."""
        if self._experiment is None:
            self._experiment = self.make_writer()
        return self._experiment  # type: ignore[return-value]


def loops_of(trainer: L.Trainer) -> dict[str, Any]:
    """Return what a checkpoint says of a trainer's loops: `test` and `predict` take up their own."""
    loops = {
        "fit_loop": trainer.fit_loop,
        "validate_loop": trainer.validate_loop,
        "test_loop": trainer.test_loop,
        "predict_loop": trainer.predict_loop,
    }
    return {name: loop.state_dict() for name, loop in loops.items()}
