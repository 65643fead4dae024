"""Saves the config of a run into its folder, once everything in it has been found to be usable."""

from pathlib import Path

import lightning as L
import yaml
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import MLFlowLogger

from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.objectives.fitting import as_settings
from swarm_lightning.runs.run_folder import CONFIG
from swarm_lightning.search.model_swarm import ModelSwarm


class SaveConfig(SaveConfigCallback):
    """Writes `config.yaml` when a new search starts, and hands it to the loggers."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write nothing yet: the experts and the data have not been checked."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the config, unless the run is resumed and has one."""
        path = Path(trainer.default_root_dir) / CONFIG
        text = self.parser.dump(self.config, skip_unset=False)
        config = yaml.safe_load(text)
        if isinstance(pl_module, ModelSwarm) and config["model"]["objective"] is None:
            # So that the run says which it was, with all settings, as that of a run which named it.
            config["model"]["objective"] = as_settings(pl_module.objective)
            text = self.parser.dump(self.parser.parse_object(config), skip_unset=False)
            config = yaml.safe_load(text)
        if trainer.is_global_zero and (trainer.ckpt_path is None or not path.exists()):
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
        for logger in trainer.loggers:
            # MLflow takes no value anew, and a search may go on with more iterations: those it began with stay.
            if not (isinstance(logger, MLFlowLogger) and logger.experiment.get_run(logger.run_id).data.params):
                logger.log_hyperparams(config)
