"""Runs the commands that search or need a search: what a user can mend ends with exit code 2 and one message."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from swarm_lightning.cli.command import COMMON, SwarmCLI
from swarm_lightning.cli.parsing.named_run import names_a_system
from swarm_lightning.doors.lightning import known_rank
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.ranks import RankError
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.shown import for_terminal, show_notices_literally


def _silence() -> None:
    """Hide messages of the libraries below that a user of this command can do nothing about."""
    for message in (
        "treespec, LeafSpec",
        "is_gradient_checkpointing",
        "transfer_batch_to_device",
        "infer the batch indices",
        "Checkpoint directory .* exists and is not empty",
        "intended to run from within Python",  # `named_run.py` and `swarm adapt` write out arguments of their own
        "smaller than the logging interval",  # one batch is one epoch
        "sync_dist=True",  # what is logged is the same on all ranks
    ):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
    if known_rank() > 0:  # the first rank speaks for all
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
    show_notices_literally()
    tips = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    tips.addFilter(lambda record: "Tip:" not in record.getMessage())


def run(arguments: Sequence[str]) -> None:
    """Run a command that searches, or needs a search.

    Args:
        arguments: Command line arguments, without the program's name.

    Raises:
        SystemExit: See `swarm_lightning.cli.main.main`.
    """
    _silence()
    # So that an objective in the current folder is found by its import path; last, so that it hides no package.
    sys.path.append(str(Path.cwd()))
    try:
        if arguments[:1] == ["experts"]:
            from swarm_lightning.cli.subcommands.experts import make_experts

            make_experts(arguments[1:])
            return
        if names_a_system(arguments):
            from swarm_lightning.cli.subcommands.answer import answer

            answer(arguments[1:])
            return
        if arguments[:1] == ["report"]:
            from swarm_lightning.cli.subcommands.report import report

            report(arguments[1:])
            return
        with interruption.in_order():
            if arguments[:1] == ["adapt"]:
                from swarm_lightning.cli.subcommands.adapt import run_adapt

                run_adapt(arguments[1:])
                _part()
                return
            command = SwarmCLI(ModelSwarm, args=None if arguments == sys.argv[1:] else list(arguments), **COMMON)
            if command.has_tasks:
                from swarm_lightning.cli.many_searches.tasks import run_tasks

                run_tasks(command)
            elif command.subcommand == "sweep":
                from swarm_lightning.cli.many_searches.sweep import run_sweep

                run_sweep(command)
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
    if known_rank() == 0 or not shared:
        print(for_terminal(f"swarm: {message}", "\n\t", sys.stderr), file=sys.stderr)
