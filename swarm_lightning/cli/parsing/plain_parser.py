"""The parser of commands that are no search: it refuses in one message, and takes no abbreviated flags."""

import argparse
from typing import Any, NoReturn

from swarm_lightning.errors import InputError


class PlainParser(argparse.ArgumentParser):
    """A parser of the standard library whose refusals are those of this package."""

    def __init__(self, prog: str, **kwargs: Any) -> None:
        """Take the arguments of `ArgumentParser`.

        Args:
            prog: The command, such as `swarm runs`.
            kwargs: Further ones of `ArgumentParser`.
        """
        super().__init__(prog, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Args:
            message: What is wrong.

        Raises:
            InputError: In any case.
        """
        raise InputError(f"{message[:1].upper()}{message[1:]}.\nFor all settings see: {self.prog} --help")
