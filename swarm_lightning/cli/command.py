"""The commands that search or need a search: Lightning's own command line, with defaults that fit a swarm.

One config file describes a search; every key can be overridden by a flag. A run gets a folder of its own below
`trainer.default_root_dir`, and `--ckpt_path last` goes on in the newest one.
"""

import sys
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback

from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.callbacks import (
    ContinuedCSVLogger,
    ContinueMetrics,
    ExportBest,
    FirstLook,
    Forecast,
    History,
    OrderlyEnd,
    PredictionWriter,
    Replies,
    RestartStagnant,
    RunRecord,
    StopOnPlateau,
    Summary,
    SwarmCheckpoint,
    SwarmProgress,
)
from swarm_lightning.cli.begun import other_settings
from swarm_lightning.cli.loggers import RememberLoggers, go_on, names_a_logger, placed
from swarm_lightning.cli.parsing.parser import SwarmParser
from swarm_lightning.cli.parsing.user_code import check_seed, told_as_input
from swarm_lightning.cli.save_config import SaveConfig
from swarm_lightning.cli.subcommands.compare import comparison_folder
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.doors.jsonargparse import keys_of
from swarm_lightning.doors.lightning import known_rank
from swarm_lightning.doors.lightning_cli import CommandLine
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.report.live import LivePage
from swarm_lightning.runs.checkpoint_file import check_checkpoint
from swarm_lightning.runs.run_folder import (
    CONFIG,
    claim_run_folder,
    find_begun,
    find_checkpoint,
    is_untouched,
    newer_than,
    next_run_folder,
    remove_if_empty,
    run_folder_of,
)
from swarm_lightning.runs.run_lock import RunLock, hold_run
from swarm_lightning.search.strategy import external_launch
from swarm_lightning.shown import say
from swarm_lightning.sweep.settings import SweepSettings

PARTS = {"model", "datamodule"}
DESCRIPTION = (
    "Adapt a language model: a particle swarm searches the weight space between your experts. Commands on a finished "
    "or interrupted run take its folder, as in 'swarm test RUN' and 'swarm fit --resume RUN'. 'swarm --version' prints "
    "the version."
)
SWEEP = "Run many searches with different settings, and report the best by validation with its test score."
# Commands that are no search: they have arguments of their own.
OTHER_COMMANDS = {
    "runs": "List the runs in a folder, or rank the particles of a run.",
    "report": "Write a report page of one or several runs.",
    "adapt": "Combine the experts into one better adapter within a budget, and report the gain.",
    "experts": "Fine-tune LoRA experts on instruction data, one per domain.",
}

TRAINER_DEFAULTS = {
    "max_steps": 50,
    "devices": 1,
    "default_root_dir": "runs",
    "log_every_n_steps": 1,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "enable_model_summary": False,
}


class SwarmCLI(CommandLine):
    """`swarm fit|validate|test|predict|export|compare|score|plan --config FILE`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make all parts and run the subcommand, as Lightning does; a search that is refused leaves no folder behind.

        Args:
            args: Those of `LightningCLI`.
            kwargs: Those of `LightningCLI`.
        """
        self.new_folder: Path | None = None
        self.lock: RunLock | None = None
        # Ranks that start all at once agree on the run folder before anything is made of it.
        launch = external_launch()
        self.ranks = Ranks() if launch is None else Ranks.join(launch.processes, launch.nodes)
        try:
            super().__init__(*args, **kwargs)
        finally:
            if self.lock is not None:
                self.lock.release()
            if self.new_folder is not None and known_rank() == 0:  # of a search that was refused
                remove_if_empty(self.new_folder)
                remove_if_empty(self.new_folder.parent)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Name the subcommands, each a method of the trainer, and the arguments that the parser fills itself."""
        return {**LightningCLI.subcommands(), "export": PARTS, "compare": PARTS, "score": PARTS, "plan": PARTS}

    def settings_of_commands(self) -> dict[str, type]:
        """Name the commands with settings of their own beside those of a search."""
        return {"compare": CompareSettings, "sweep": SweepSettings}

    def further_commands(self) -> dict[str, str]:
        """Name the commands that are no method of the trainer."""
        return {"sweep": SWEEP, **OTHER_COMMANDS}

    def complete_parser(self, command: str, parser: LightningArgumentParser) -> None:
        """Let a command take the configs of the others; a run's own config is one of `fit` or `compare`.

        Args:
            command: Its name.
            parser: With all its arguments.
        """
        if command == "score":
            parser.set_defaults({"model.experts": []})  # a base can be scored by itself
        others = {**dict.fromkeys(self.settings_of_commands()), "ckpt_path": (None,), "weights_only": (True, None)}
        own = keys_of(parser)
        assert isinstance(parser, SwarmParser)
        parser.passed_over = {key: values for key, values in others.items() if key not in own}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give every part of a search that is a callback a key of its own in the config."""
        parser.add_lightning_class_args(RestartStagnant, "restart")
        parser.add_lightning_class_args(StopOnPlateau, "stop")
        parser.add_lightning_class_args(SwarmCheckpoint, "checkpoint")
        parser.add_lightning_class_args(History, "history")
        parser.add_lightning_class_args(Replies, "replies")
        parser.add_lightning_class_args(ExportBest, "export_best")
        parser.add_lightning_class_args(LivePage, "page")
        parser.add_class_arguments(SwarmProgress, "progress")  # there only where a bar is wanted

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, then settle which checkpoint is meant and which folder the run writes to."""
        with self.ranks.together(), told_as_input():
            super().parse_arguments(parser, args)
            check_seed(self.settings_given.get("seed_everything"))
            if self.is_made_of_others:
                return
            folder = self._choose_files()
        settings = self.settings_given
        folder, settings.ckpt_path = self.ranks.first((folder, settings.get("ckpt_path")))
        settings.trainer.default_root_dir = folder
        if self.config.subcommand != "fit" and not names_a_logger(sys.argv[1:] if args is None else args):
            settings.trainer.logger = None  # the search has logged its scores: no other command begins a run of its own
        settings.trainer.logger = placed(settings.trainer.logger, folder)
        if settings.ckpt_path is not None:
            go_on(settings.trainer.logger, folder)

    @property
    def is_made_of_others(self) -> bool:
        """Whether the command is made of others, with folders of their own, which `running.py` runs."""
        return self.config.subcommand == "sweep" or self.has_tasks

    @property
    def has_tasks(self) -> bool:
        """Whether it is a comparison or a sweep on several tasks."""
        command = self.config.subcommand
        return command in self.settings_of_commands() and self.settings_given[command].tasks is not None

    def _choose_files(self) -> str:
        settings = self.settings_given
        # The config that is saved keeps the words of the user, so that it starts the same search anew.
        self.config_as_given = self.config.clone()
        root = settings.trainer.default_root_dir
        if self.config.subcommand == "compare":
            begun = comparison_folder(settings.compare.output, root)
            if begun is not None:
                if settings.compare.output == "last":
                    _say(f"--compare.output last: {begun}")
                self.new_folder = None if begun.exists() else begun
            return self._new_run(settings) if begun is None else self._take(begun)
        if self.config.subcommand == "plan":  # it writes nothing
            return root
        if self.config.subcommand == "score":
            return root if settings.out is not None else self._new_run(settings)
        fits = self.config.subcommand == "fit"
        if settings.get("ckpt_path") is not None:
            begun = self._begun(settings.ckpt_path, root) if fits else None
            if begun is not None:
                settings.ckpt_path = None
                return self._take(begun)
            checkpoint = find_checkpoint(settings.ckpt_path, root)
            check_checkpoint(checkpoint)
            folder = run_folder_of(checkpoint)
            if settings.ckpt_path == "last":
                newer = ", ".join(str(run) for run in newer_than(folder))
                _say(f"--ckpt_path last: {checkpoint}" + (f" ({newer} passed over: no checkpoint)" if newer else ""))
            settings.ckpt_path = str(checkpoint)
            return self._take(folder) if fits else str(folder)
        if fits:
            if settings.trainer.max_steps == 0:
                raise InputError("Expected at least 1 iteration, but trainer.max_steps is 0. Set the maximum you want.")
            return self._new_run(settings)
        raise InputError(
            f"Expected a run for 'swarm {self.config.subcommand}': its folder, as in 'swarm {self.config.subcommand} "
            f"RUN', or --ckpt_path with 'last' for the newest run below {root!r}, a run folder, or a checkpoint file."
        )

    def _begun(self, source: str, root: str) -> Path | None:
        """Return the folder of a run that has no checkpoint yet, where it is meant and of the same search."""
        begun = find_begun(source, root)
        if begun is None:
            return None
        if is_untouched(begun):
            _say(f"{begun} belongs to a run that ended before it wrote anything: the search starts anew there.")
            self.new_folder = begun
            return begun
        fit = self.config_as_given["fit"]
        others = other_settings(begun, self.parser_of("fit").dump(fit, skip_unset=False))
        if not others:
            _say(f"{begun} has no checkpoint yet: its search starts anew and reuses the scores that were saved.")
            return begun
        named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        if source != "last":
            raise InputError(
                f"Expected to resume the search of {str(begun)!r}, which has no checkpoint yet, but these settings "
                f"have changed: {named}. Use its {CONFIG}, or leave --ckpt_path out to start a new search."
            )
        _say(f"{begun} has no checkpoint, and its search had other settings ({named}): skipping it.")
        return None

    def _new_run(self, settings: Namespace) -> str:
        """Make a run folder that nobody has."""
        root = settings.trainer.default_root_dir
        if known_rank() == 0 and (external_launch() is not None or settings.trainer.num_nodes == 1):
            self.new_folder = claim_run_folder(root)
            return self._take(self.new_folder)
        # Machines of one run that were started by hand meet later: until then none may make the folder.
        self.new_folder = next_run_folder(root)
        return str(self.new_folder)

    def _take(self, folder: Path) -> str:
        """Keep other processes out of a run folder, before anything is loaded or written."""
        if known_rank() == 0:
            self.lock = hold_run(folder)
        return str(folder)

    def instantiate_classes(self) -> None:
        """Make all parts of the search, on every rank; each search of a sweep makes its own."""
        if self.is_made_of_others:
            return
        with self.ranks.together(), told_as_input():
            super().instantiate_classes()

    def run_command(self, command: str) -> None:
        """Run the chosen command, unless it is made of others."""
        if not self.is_made_of_others:
            super().run_command(command)

    def further_callbacks(self) -> list[Callback]:
        """Return what shows a search to the user and writes down what came out."""
        return [FirstLook(), Forecast(), Summary(), PredictionWriter()]

    def instantiate_trainer(self, **kwargs: Any) -> SwarmTrainer:
        """Make the trainer, with the progress bar, the first look, the closing summary and by default a CSV logger."""
        settings = self.settings_made("trainer")
        bar = [self.settings_made("progress")] if settings.get("enable_progress_bar") is not False else []
        # The bar is closed before the summary is printed.
        added = [OrderlyEnd(), *bar]
        if self.subcommand != "compare":
            added = [OrderlyEnd(), ContinueMetrics(), RememberLoggers(), *bar, *self.further_callbacks(), RunRecord()]
        settings["callbacks"] = [*_as_list(settings.get("callbacks")), *added]
        if settings.get("logger") in (None, True):
            kwargs["logger"] = self.subcommand == "fit" and ContinuedCSVLogger(settings["default_root_dir"])
        trainer = super().instantiate_trainer(**kwargs)
        # The page shows what all others have written; checkpoints stay behind it, where Lightning puts them.
        trainer.callbacks.sort(key=lambda callback: isinstance(callback, LivePage))  # type: ignore[attr-defined]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, SaveConfigCallback):
                callback.config = self.config_as_given[str(self.subcommand)]
        return trainer  # type: ignore[return-value]


# Arguments of the command line whatever is searched.
COMMON: dict[str, Any] = {
    "datamodule_class": SwarmData,
    "save_config_callback": SaveConfig,
    "trainer_class": SwarmTrainer,
    "trainer_defaults": TRAINER_DEFAULTS,
    "seed_everything_default": 0,
    "auto_configure_optimizers": False,
    "load_from_checkpoint_support": False,
    "parser_class": SwarmParser,
    "parser_kwargs": {"description": DESCRIPTION},
}


def _say(what: str) -> None:
    """Print on the first rank, before anything else is printed."""
    if known_rank() == 0:
        say(what, flush=True)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
