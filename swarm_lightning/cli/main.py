"""The command line: Lightning's own, with defaults that fit a swarm.

One config file describes a search; every key can be overridden by a flag. A run gets a folder of its own below
`trainer.default_root_dir`, and `--ckpt_path last` goes on in the newest one. What a user can mend ends with exit code
2 and one message.
"""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.callbacks import (
    ContinuedCSVLogger,
    ContinueMetrics,
    ExportBest,
    FirstLook,
    History,
    OrderlyEnd,
    PredictionWriter,
    RestartStagnant,
    StopOnPlateau,
    Summary,
    SwarmCheckpoint,
    SwarmProgress,
)
from swarm_lightning.cli.begun import other_settings
from swarm_lightning.cli.compare import comparison_folder
from swarm_lightning.cli.hints import keys_of, readable
from swarm_lightning.cli.save_config import SaveConfig
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.cli.user_code import check_seed, told_as_input
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.ranks import RankError, Ranks
from swarm_lightning.runs.checkpoint_check import check_checkpoint
from swarm_lightning.runs.run_folder import (
    CONFIG,
    claim_run_folder,
    find_begun,
    find_checkpoint,
    next_run_folder,
    remove_if_empty,
    run_folder_of,
)
from swarm_lightning.runs.run_lock import RunLock, hold_run
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.strategy import external_launch
from swarm_lightning.sweep.settings import SweepSettings

# In a logger's settings, this text stands for the run folder.
RUN_FOLDER = "<run>"

PARTS = {"model", "datamodule"}
DESCRIPTION = "Adapt a language model: a particle swarm searches between your experts."
SWEEP = "Run many searches with drawn settings, and report the best by validation with its test score."
# Commands that are no search: they have configs of their own.
OTHER_COMMANDS = {"experts": "Fine-tune LoRA experts from instruction data, one per domain, in a row."}

TRAINER_DEFAULTS = {
    "max_steps": 50,
    "devices": 1,
    "default_root_dir": "runs",
    "log_every_n_steps": 1,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "enable_model_summary": False,
}


class SwarmParser(LightningArgumentParser):
    """A parser that says what is wrong in one message, without the hundreds of lines of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse the arguments.

        Args:
            message: What is wrong.
            ex: Where it comes from.

        Raises:
            InputError: In any case, unless errors are wanted as they come.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        help_ = f"{self.prog.replace(' [options]', '')} --help"
        raise InputError(f"{readable(message, keys_of(self))}\nFor all settings see: {help_}") from ex


class SwarmCLI(LightningCLI):
    """`swarm fit|validate|test|predict|export|compare --config FILE`."""

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
            if self.new_folder is not None and _rank() == 0:  # of a search that was refused
                remove_if_empty(self.new_folder)
                remove_if_empty(self.new_folder.parent)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Name the subcommands, each a method of the trainer, and the arguments that the parser fills itself."""
        return {**LightningCLI.subcommands(), "export": PARTS, "compare": PARTS}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        if subcommand != "compare":
            return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        # Lightning would make a group with the method's name, and jsonargparse refuses a second one of that name.
        parser = self.init_parser(**kwargs)
        self._add_arguments(parser)
        parser.add_class_arguments(CompareSettings, "compare")
        self._subcommand_method_arguments[subcommand] = ["compare"]
        return parser

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        self._add_other_commands(parser)

    def _add_other_commands(self, parser: LightningArgumentParser) -> None:
        """Add the commands that are no method of the trainer; those with configs of their own are only listed here."""
        assert parser._subcommands_action is not None
        sweeps = self.init_parser(description=SWEEP)
        self._add_arguments(sweeps)
        sweeps.add_class_arguments(SweepSettings, "sweep")
        self._subcommand_parsers["sweep"] = sweeps
        parser._subcommands_action.add_subcommand("sweep", sweeps, help=SWEEP)
        for name, description in OTHER_COMMANDS.items():
            parser._subcommands_action.add_subcommand(name, self.init_parser(), help=description)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give every part of a search that is a callback a key of its own in the config."""
        parser.add_lightning_class_args(RestartStagnant, "restart")
        parser.add_lightning_class_args(StopOnPlateau, "stop")
        parser.add_lightning_class_args(SwarmCheckpoint, "checkpoint")
        parser.add_lightning_class_args(History, "history")
        parser.add_lightning_class_args(ExportBest, "export_best")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, then settle which checkpoint is meant and which folder the run writes to."""
        with self.ranks.together(), told_as_input():
            super().parse_arguments(parser, args)
            check_seed(self.config[self.config.subcommand].get("seed_everything"))
            if self.config.subcommand == "sweep":  # its searches have folders of their own
                return
            folder = self._choose_files()
        settings = self.config[self.config.subcommand]
        folder, settings.ckpt_path = self.ranks.first((folder, settings.get("ckpt_path")))
        settings.trainer.default_root_dir = folder
        settings.trainer.logger = _put_into(settings.trainer.logger, folder)

    def _choose_files(self) -> str:
        settings = self.config[self.config.subcommand]
        # The config that is saved keeps the words of the user, so that it starts the same search anew.
        self.config_as_given = self.config.clone()
        root = settings.trainer.default_root_dir
        if self.config.subcommand == "compare":
            begun = comparison_folder(settings.compare.output, root)
            if begun is not None:
                self.new_folder = None if begun.exists() else begun
            return self._new_run(settings) if begun is None else self._take(begun)
        fits = self.config.subcommand == "fit"
        if settings.get("ckpt_path") is not None:
            begun = self._begun(settings.ckpt_path, root) if fits else None
            if begun is not None:
                settings.ckpt_path = None
                return self._take(begun)
            checkpoint = find_checkpoint(settings.ckpt_path, root)
            check_checkpoint(checkpoint)
            settings.ckpt_path = str(checkpoint)
            folder = run_folder_of(checkpoint)
            return self._take(folder) if fits else str(folder)
        if fits:
            if settings.trainer.max_steps == 0:
                raise InputError("Expected at least 1 iteration, but trainer.max_steps is 0. Set the most you want.")
            return self._new_run(settings)
        raise InputError(
            f"Expected --ckpt_path for 'swarm {self.config.subcommand}': 'last' for the newest run below "
            f"{root!r}, a run folder, or a checkpoint file."
        )

    def _begun(self, source: str, root: str) -> Path | None:
        """Return the folder of a run that has no checkpoint yet, where it is meant and of the same search."""
        begun = find_begun(source, root)
        if begun is None:
            return None
        fit = self.config_as_given["fit"]
        others = other_settings(begun, self._parser("fit").dump(fit, skip_unset=False))
        if not others:
            if _rank() == 0:
                print(f"{begun} has no checkpoint yet: its search starts anew, with any scores that it had found.")
            return begun
        named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        if source != "last":
            raise InputError(
                f"Expected to go on with the search of {str(begun)!r}, which has no checkpoint yet, but these settings "
                f"are others now: {named}. Use its {CONFIG}, or leave --ckpt_path out to start a new search."
            )
        if _rank() == 0:
            print(f"{begun} has no checkpoint, and its search had other settings ({named}): it is passed over.")
        return None

    def _new_run(self, settings: Namespace) -> str:
        """Make a run folder that nobody has."""
        root = settings.trainer.default_root_dir
        if _rank() == 0 and (external_launch() is not None or settings.trainer.num_nodes == 1):
            self.new_folder = claim_run_folder(root)
            return self._take(self.new_folder)
        # Machines of one run that were started by hand meet later: until then none may make the folder.
        self.new_folder = next_run_folder(root)
        return str(self.new_folder)

    def _take(self, folder: Path) -> str:
        """Keep other processes out of a run folder, before anything is loaded or written."""
        if _rank() == 0:
            self.lock = hold_run(folder)
        return str(folder)

    def instantiate_classes(self) -> None:
        """Make all parts of the search, on every rank; each search of a sweep makes its own."""
        if self.subcommand == "sweep":
            return
        with self.ranks.together(), told_as_input():
            super().instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand != "sweep":
            super()._run_subcommand(subcommand)
            return
        from swarm_lightning.cli.sweep import run_sweep

        run_sweep(self)

    def further_callbacks(self) -> list[Callback]:
        """Return what shows a search to the user and writes down what came out."""
        return [FirstLook(), Summary(), PredictionWriter()]

    def instantiate_trainer(self, **kwargs: Any) -> SwarmTrainer:
        """Make the trainer, with the progress bar, the first look, the closing summary and by default a CSV logger."""
        settings = self._get(self.config_init, "trainer")
        bar = [SwarmProgress()] if settings.get("enable_progress_bar") is not False else []
        # The bar is closed before the summary is printed.
        added = [OrderlyEnd(), *bar]
        if self.subcommand != "compare":
            added = [OrderlyEnd(), ContinueMetrics(), *bar, *self.further_callbacks()]
        settings["callbacks"] = [*_as_list(settings.get("callbacks")), *added]
        if settings.get("logger") in (None, True):
            kwargs["logger"] = self.subcommand == "fit" and ContinuedCSVLogger(settings["default_root_dir"])
        trainer = super().instantiate_trainer(**kwargs)
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


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _put_into(value: Any, folder: str) -> Any:
    """Replace the placeholder of the run folder wherever it stands in a logger's settings."""
    if isinstance(value, str):
        return value.replace(RUN_FOLDER, folder)
    if isinstance(value, list):
        return [_put_into(entry, folder) for entry in value]
    if isinstance(value, Namespace):
        for name, entry in vars(value).items():
            setattr(value, name, _put_into(entry, folder))
    return value


def _rank() -> int:
    """Return which rank this process is, as far as Lightning knows: from the environment before the ranks meet."""
    return getattr(rank_zero_only, "rank", 0)


def _silence() -> None:
    """Hide messages of the libraries below that a user of this command can do nothing about."""
    for message in (
        "across ranks is zero",
        "treespec, LeafSpec",
        "is_gradient_checkpointing",
        "transfer_batch_to_device",
        "infer the batch indices",
        "Checkpoint directory .* exists and is not empty",
        "smaller than the logging interval",  # one batch is one epoch
        "sync_dist=True",  # what is logged is the same on all ranks
    ):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
    if _rank() > 0:  # the first rank speaks for all
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
    tips = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    tips.addFilter(lambda record: "Tip:" not in record.getMessage())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command `swarm`.

    Args:
        arguments: Command line arguments; those of the process if None.

    Raises:
        SystemExit: With code 2 if something the user gave can't be used or the disk does not take a file, with 1 if a
            rank is lost or fails, and with 128 + n if the run was asked to end by signal n: 130 for Ctrl-C, 138 for
            SIGUSR1, 143 for SIGTERM.
    """
    _silence()
    # So that an objective in the current folder is found by its import path; last, so that it hides no package.
    sys.path.append(str(Path.cwd()))
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments[:1] == ["experts"]:
            from swarm_lightning.cli.experts import make_experts

            make_experts(arguments[1:])
            return
        with interruption.in_order():
            SwarmCLI(ModelSwarm, args=None if arguments == sys.argv[1:] else arguments, **COMMON)
            _part()
    except (InputError, MisconfigurationException) as error:
        _tell(str(error), getattr(error, "shared", False))
        raise SystemExit(2) from error
    except UnpicklingError as error:
        _tell(f"Expected a checkpoint of tensors and plain values only, but {error}", False)
        raise SystemExit(2) from error
    except interruption.Interrupted as error:
        raise SystemExit(128 + error.signal) from error
    except SIGTERMException as error:
        raise SystemExit(128 + signal.SIGTERM) from error
    except KeyboardInterrupt as error:
        raise SystemExit(128 + signal.SIGINT) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning ends with 1 then
            raise SystemExit(128 + signal.SIGINT) from error
        raise
    except RankError as error:
        _tell(str(error), error.shared)
        raise SystemExit(1) from error


def _part() -> None:
    """Leave the other ranks in order: threads of a group that is still there can abort a process that ends."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _tell(message: str, shared: bool) -> None:
    """Print why a run ends; the first rank speaks where all say the same."""
    if _rank() == 0 or not shared:
        print(f"swarm: {message}", file=sys.stderr)
