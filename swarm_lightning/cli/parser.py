"""The parser of the command line: it says what is wrong in one message, without the hundreds of lines of usage."""

from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from swarm_lightning.cli.hints import readable
from swarm_lightning.doors.jsonargparse import Complaint, OpenParser
from swarm_lightning.errors import InputError


class SwarmParser(OpenParser, LightningArgumentParser):
    """A parser whose refusals are those of this package; flags are given in full."""

    def refuse(self, complaint: Complaint, error: Exception | None) -> NoReturn:
        """Refuse the arguments.

        Args:
            complaint: What is wrong.
            error: Where it comes from.

        Raises:
            InputError: In any case.
        """
        help_ = f"{self.prog.replace(' [options]', '')} --help"
        raise InputError(f"{readable(complaint, self)}\nFor all settings see: {help_}") from error
