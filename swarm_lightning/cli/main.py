"""The command `swarm`: what needs no torch is answered or refused here, in the first second.

Everything else is handed on to `running.py`, whose libraries take seconds to load.
"""

import os
import sys
from collections.abc import Sequence

from swarm_lightning import __version__
from swarm_lightning.cli.parsing.early_look import look_at_data
from swarm_lightning.cli.parsing.named_run import with_json, with_run
from swarm_lightning.cli.printing import outliving_readers
from swarm_lightning.errors import InputError
from swarm_lightning.shown import for_terminal


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command `swarm`.

    Args:
        arguments: Command line arguments; those of the process if None.

    Raises:
        SystemExit: With code 2 if something the user gave can't be used or the disk does not take a file, with 1 if a
            rank is lost or fails, and with 128 + n if the run was asked to end by signal n: 130 for Ctrl-C, 138 for
            SIGUSR1, 143 for SIGTERM.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    with outliving_readers():
        if words[:1] == ["--version"]:
            print(f"swarm-lightning {__version__}")
            return
        try:
            if words[:1] == ["runs"]:
                from swarm_lightning.cli.subcommands.runs import show_runs

                show_runs(words[1:])
                return
            words = with_json(with_run(words))
            look_at_data(words)
        except InputError as error:
            print(for_terminal(f"swarm: {error}", "\n\t", sys.stderr), file=sys.stderr)
            raise SystemExit(2) from error
        if not sys.stderr.isatty():  # in a file, the bars of models that are loaded are one endless line
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        from swarm_lightning.cli.running import run

        run(words)
