"""One search of a sweep: `swarm fit` with a config, a run folder and a last word that are the sweep's."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from swarm_lightning.callbacks import ExportBest, Replies
from swarm_lightning.cli.command import COMMON, SwarmCLI
from swarm_lightning.data.module import SwarmData
from swarm_lightning.differences import CONTENT
from swarm_lightning.files import write_whole
from swarm_lightning.runs.run_folder import CHECKPOINTS, LAST
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.sweep.report import SUMMARY
from swarm_lightning.sweep.space import DrawnSpace, keys_of, put
from swarm_lightning.sweep.trial import ReportToStudy, Shared, TrialSharing, asked_by


class TrialSummary(L.Callback):
    """Writes `summary.json` as every search does, and prints nothing.

    In a study whose searches are all tested, the vote of the best particles and what was found on further datasets are
    in it too, as far as the study asks for them.
    """

    def __init__(self, ensemble: bool = False, also_test: Sequence[str] = ()) -> None:
        """Say what is scored beside the best initial and the best found expert.

        Args:
            ensemble: Whether the vote of `model.ensemble_size` particles is scored on the test split.
            also_test: Further datasets on whose test splits both are scored.
        """
        self.ensemble = ensemble
        self.also_test = tuple(also_test)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what came out."""
        assert isinstance(pl_module, ModelSwarm)
        test, bests = pl_module.held_back, pl_module.bests
        summary = pl_module.result(test).to_dict()
        if test and self.ensemble and pl_module.particle_swarm.moves_particles:
            *_, vote = bests.score(test, pl_module.settings.ensemble_size, asked=pl_module.state.tested)
            summary["ensemble"] = {"name": vote.name, "utility": vote.utility}
        data = trainer.datamodule  # type: ignore[attr-defined]
        for dataset in self.also_test if test else ():
            other = SwarmData(dataset, test_size=data.test_size, validation_size=data.validation_size, seed=data.seed)
            other.prepare_data()
            pl_module.objective.check(other.splits.test, pl_module.tokenizer)
            rows = bests.score(other.splits.test, held_back=False)
            summary.setdefault("also_test", {})[dataset] = {row.name: row.utility for row in rows}
        path = Path(trainer.default_root_dir) / SUMMARY
        write_whole(path, json.dumps(summary, indent=2) + "\n")


class TrialCLI(SwarmCLI):
    """`swarm fit` for one search of a sweep."""

    def __init__(
        self,
        config: Mapping[str, Any],
        settings: Mapping[str, Any],
        folder: Path,
        shared: Shared,
        beside: Sequence[L.Callback] = (),
    ) -> None:
        """Run the search to its end.

        Args:
            config: Of `swarm fit`, as nested plain values.
            settings: What was drawn for this search.
            folder: Its run folder.
            shared: What the searches share.
            beside: Further callbacks.
        """
        self._settings = settings
        self._folder = folder
        self._shared = shared
        self._beside = beside
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
            super().__init__(ModelSwarm, args={"subcommand": "fit", "fit": put(config, settings)}, **COMMON)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Name the only subcommand."""
        return {"fit": SwarmCLI.subcommands()["fit"]}

    def further_commands(self) -> dict[str, str]:
        """Leave the other commands out."""
        return {}

    def _choose_files(self) -> str:
        self.config_as_given = self.config.clone()
        state = self._folder / CHECKPOINTS / LAST
        if state.is_file():
            self.config["fit"].ckpt_path = str(state)
        else:
            self.new_folder = self._folder
        return self._take(self._folder)

    def further_callbacks(self) -> list[L.Callback]:
        """Return what goes on beside the search."""
        ensemble = any(key.endswith("ensemble_size") for key in self._settings)
        return [TrialSummary(ensemble, self._shared.also_test), *self._beside]

    def before_fit(self) -> None:
        """Hand the search what it shares, and leave the last word to the sweep."""
        reports = [callback for callback in self._beside if isinstance(callback, ReportToStudy)]
        note_first = reports[0].note_first if reports else None
        self.model.share(TrialSharing(self._shared, asked_by(self._settings), note_first))
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ExportBest):
                callback.tells = False
            elif isinstance(callback, Replies):
                callback.validation = False  # of many searches few are looked at, and each would ask two models more


class RehearsalCLI(TrialCLI):
    """A search of a sweep up to its first question: what is wrong comes up before there is a study.

    It leaves the base that it loads for the searches, and writes nothing.
    """

    def __init__(
        self, config: Mapping[str, Any], settings: Mapping[str, Any], folder: Path, shared: Shared, loads: bool = True
    ) -> None:
        """Begin the search; `loads`: whether the base is loaded too, unless a search has done so before."""
        self._loads = loads and not folder.exists()
        super().__init__(config, settings, folder, shared)

    def _choose_files(self) -> str:
        self.config_as_given = self.config.clone()
        return str(self._folder)

    def run_command(self, command: str) -> None:
        """Load what a search loads, and ask nothing."""
        self.before_fit()
        self.model.trainer, self.trainer.datamodule = self.trainer, self.datamodule  # type: ignore[attr-defined]
        self.model.prepare_data()
        self.datamodule.prepare_data()
        if self._loads:
            self.model.load("fit")

    def content(self, space: DrawnSpace) -> dict[str, str]:
        """Return what tells experts and data from others, where all searches of a sweep have the same.

        Args:
            space: What is drawn.
        """
        found = {"experts": self.model.pool.fingerprint, "data": self.datamodule.fingerprint}
        varied_by = {"experts": ("model.experts",), "data": ("data.", "seed_everything")}
        return {
            f"{CONTENT}{name}": value
            for name, value in found.items()
            if not any(key.startswith(varied_by[name]) for key in keys_of(space))
        }
