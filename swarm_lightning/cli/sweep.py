"""`swarm sweep`: many searches with drawn settings, in a study that can be shared and gone on with.

Every search is run as `swarm fit` runs it, with a config and a run folder of its own.
"""

import gc
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from swarm_lightning.cli.main import COMMON, SwarmCLI
from swarm_lightning.errors import InputError, ServiceError, StorageError
from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.interruption import Interrupted
from swarm_lightning.files import storage_errors, whole_folder, write_whole
from swarm_lightning.locks import lock
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.run_folder import CHECKPOINTS, LAST
from swarm_lightning.search.strategy import needs_ranks
from swarm_lightning.sweep.first_scores import FirstScores
from swarm_lightning.sweep.report import SUMMARY, rows_of, test_of, write_report
from swarm_lightning.sweep.settings import PUBLISHED_SPACE, SweepSettings
from swarm_lightning.sweep.space import Space, grid_size, put, read_space, samples
from swarm_lightning.sweep.study import LOCKS, SweepStudy
from swarm_lightning.sweep.trial import ReportToStudy, Shared, TrialSwarm

BEST_EXPERT = "best_expert"
# What does not change what is found: where and how fast it is searched, and what is shown of it.
FREE = (
    "trainer.accelerator", "trainer.devices", "trainer.logger", "trainer.default_root_dir", "trainer.precision",
    "trainer.enable_progress_bar", "trainer.log_every_n_steps", "trainer.profiler", "model.engine", "checkpoint",
    "history", "export_best", "sweep.trials", "sweep.storage", "sweep.keep_checkpoints", "sweep.study",
)  # fmt: skip


class TrialSummary(L.Callback):
    """Writes `summary.json` as every search does, and prints nothing."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what came out."""
        assert isinstance(pl_module, ModelSwarm)
        result = pl_module.result(pl_module.held_back)
        path = Path(trainer.default_root_dir) / SUMMARY
        write_whole(path, json.dumps(result.to_dict(), indent=2) + "\n")


class TrialCLI(SwarmCLI):
    """`swarm fit` for one search of a sweep."""

    def __init__(self, config: Mapping[str, Any], folder: Path, shared: Shared, report: ReportToStudy | None) -> None:
        """Run the search to its end.

        Args:
            config: Of `swarm fit`, as nested plain values.
            folder: Its run folder.
            shared: What the searches share.
            report: Tells the study how it stands.
        """
        self._folder = folder
        self._shared = shared
        self._report = report
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
            super().__init__(TrialSwarm, args={"subcommand": "fit", "fit": dict(config)}, **COMMON)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Name the only subcommand."""
        return {"fit": SwarmCLI.subcommands()["fit"]}

    def _add_other_commands(self, parser: LightningArgumentParser) -> None:
        """Leave the other commands out."""

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
        return [TrialSummary(), *([] if self._report is None else [self._report])]

    def before_fit(self) -> None:
        """Hand the search what it shares."""
        self.model.shared = self._shared


def run_sweep(cli: SwarmCLI) -> None:
    """Run `swarm sweep`.

    Args:
        cli: The parsed command.

    Raises:
        InputError: If the sweep can't be run as it is configured, or all of its searches failed.
    """
    whole = yaml.safe_load(cli._parser("sweep").dump(cli.config["sweep"], skip_unset=False))
    settings: SweepSettings = cli._parser("sweep").instantiate_classes(cli.config["sweep"]).sweep
    config = {name: value for name, value in whole.items() if name not in ("sweep", "config")}
    space = _checked_space(cli, settings, config)
    _rehearse(cli)
    folder = Path(config["trainer"]["default_root_dir"]).expanduser() / settings.study
    study = SweepStudy(folder, settings, space, _identity(whole, space))
    shared = Shared(FirstScores(folder / "first_scores"))
    while True:
        interruption.check()
        with study.next_trial() as claimed:
            if claimed is None:
                break
            _run_trial(study, shared, config, *claimed)
    _finish(study, shared, config)


def _run_trial(
    study: SweepStudy, shared: Shared, config: Mapping[str, Any], trial: Any, settings: Mapping[str, Any]
) -> None:
    folder = study.folder_of(trial.number)
    shown = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in settings.items())
    print(f"Trial {trial.number} of {study.settings.trials}: {shown}", flush=True)
    trial.set_user_attr("settings", dict(settings))
    report = ReportToStudy(trial)
    try:
        TrialCLI(put(config, settings), folder, shared, report)
    except (ServiceError, StorageError):
        raise  # no search can go on now
    except (InputError, MisconfigurationException) as error:
        trial.set_user_attr("error", str(error))
        trial.set_user_attr("evaluations", report.evaluations)
        study.tell(trial, "FAIL")
        print(f"Trial {trial.number} failed: {error}", flush=True)
        return
    except (SystemExit, KeyboardInterrupt, SIGTERMException, Interrupted):
        print("Interrupted. The same command goes on with this search.", flush=True)
        raise
    finally:
        gc.collect()  # modules and trainers know each other; their positions are large
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    found = float(summary["validation"][-1]["utility"])
    for name in ("iterations", "restarts", "evaluations", "generated_tokens", "seconds"):
        trial.set_user_attr(name, summary[name])
    trial.set_user_attr("validation", found)
    if report.pruned:
        study.tell(trial, "PRUNED")
    else:
        study.tell(trial, "COMPLETE", found)
    state = "pruned" if report.pruned else "ended"
    print(f"Trial {trial.number} {state}: {found:.4f} on validation, {summary['iterations']} iterations.", flush=True)
    _drop_checkpoints(study)


def _drop_checkpoints(study: SweepStudy) -> None:
    """Remove the checkpoints of searches that have ended and are not the best, where only that is kept."""
    best = study.best()
    if study.settings.keep_checkpoints == "all" or best is None:
        return
    with lock(study.folder / LOCKS / "study"):
        best = study.best()
        for trial in study.trials():
            if trial.state.is_finished() and best is not None and trial.number != best.number:
                shutil.rmtree(study.folder_of(trial.number) / CHECKPOINTS, ignore_errors=True)


def _finish(study: SweepStudy, shared: Shared, config: Mapping[str, Any]) -> None:
    """Report; whoever ends last scores the best search on the test split."""
    with lock(study.folder / LOCKS / "report"):
        rows = rows_of(study)
        running = [row for row in rows if row.state in ("running", "waiting")]
        best = study.best()
        number = None if running or best is None else best.number
        if number is not None:
            folder = study.folder_of(number)
            if test_of(folder) is None:
                shared.with_test = True
                row = next(row for row in rows if row.number == number)
                TrialCLI(put(config, row.settings), folder, shared, None)
                rows = rows_of(study)
            _copy_expert(folder / BEST_EXPERT, study.folder / BEST_EXPERT)
        write_report(study.folder, rows, study.space, number, shared.first_scores.count())
    if running:
        print(f"{len(running)} searches are running in other processes; the last to end reports the best.")
    elif number is None:
        reasons = next((row.why for row in rows if row.why), "")
        raise InputError(
            f"Expected at least one search to end, but none of {len(rows)} has. The first that failed says: {reasons}"
        )
    else:
        print((study.folder / "sweep.md").read_text(encoding="utf-8").split("\n| ", 1)[0])
        print(f"Best expert: {study.folder / BEST_EXPERT}")
    print(f"All searches: {study.folder / 'sweep.csv'}")


def _copy_expert(source: Path, target: Path) -> None:
    """Put a copy in place of an earlier one, whole or not at all."""
    with storage_errors(target), whole_folder(target) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)


def _checked_space(cli: SwarmCLI, settings: SweepSettings, config: Mapping[str, Any]) -> Space:
    space = read_space(PUBLISHED_SPACE if settings.space is None else settings.space, config)
    if settings.sampler == "grid" and settings.trials > grid_size(space):
        raise InputError(
            f"Expected at most {grid_size(space)} trials, the combinations of the grid, but got {settings.trials}."
        )
    parser = cli._parser("fit")
    for together in samples(space):
        try:
            parser.parse_object(put(config, together))
        except InputError:
            for key, value in together.items():  # which of them is it?
                try:
                    parser.parse_object(put(config, {key: value}))
                except InputError as error:
                    raise InputError(
                        f"Expected values in sweep.space that {key!r} takes, but {value!r} is none: {error}"
                    ) from error
            raise
    trainer = config["trainer"]
    if needs_ranks(trainer["accelerator"], trainer["devices"], trainer["num_nodes"]) or cli.ranks.count > 1:
        raise InputError(
            "Expected one rank for each process of a sweep, but got several. Start several processes of the same "
            "command instead: they share the study, and each runs searches of its own."
        )
    return space


def _rehearse(cli: SwarmCLI) -> None:
    """Read experts and data once, so that what is wrong with them comes up before there is a study."""
    parts = cli._parser("sweep").instantiate_classes(cli.config["sweep"])
    L.seed_everything(int(cli.config["sweep"].seed_everything), verbose=False)
    trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    parts.model.trainer, trainer.datamodule = trainer, parts.data  # type: ignore[attr-defined]
    parts.model.prepare_data()
    parts.data.prepare_data()


def _identity(whole: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the config without what may differ between the processes of a sweep, and without what is drawn."""
    drawn = {key: "drawn" for key in space}
    kept = put({name: value for name, value in whole.items() if name != "config"}, drawn)
    for path in FREE:
        *parts, last = path.split(".")
        place: Any = kept
        for part in parts:
            place = place.get(part, {})
        place.pop(last, None)
    return kept
