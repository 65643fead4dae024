"""The parser of the command line: it says what is wrong in one message, without the hundreds of lines of usage.

A config can serve several commands: what belongs to another one is passed over where it is read from a file.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from swarm_lightning.cli.parsing.hints import readable
from swarm_lightning.doors.jsonargparse import Complaint, OpenParser
from swarm_lightning.errors import InputError


class SwarmParser(OpenParser, LightningArgumentParser):
    """A parser whose refusals are those of this package; flags are given in full."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of `ArgumentParser`.

        Args:
            args: Those of `ArgumentParser`.
            kwargs: Those of `ArgumentParser`.
        """
        super().__init__(*args, **kwargs)
        # Keys of other commands, each with the values that mean nothing to this one; None for any value.
        self.passed_over: Mapping[str, tuple[object, ...] | None] = {}

    def adapt_config(self, text: str) -> str:
        """Leave out what belongs to other commands.

        Args:
            text: Of a config.
        """
        return without_keys(text, self.passed_over)

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


def without_keys(text: str, keys: Mapping[str, tuple[object, ...] | None]) -> str:
    r"""Cut keys with their values out of the text of a YAML mapping; the rest stays letter for letter.

    Args:
        text: Any; one that is no mapping in block style stays as it is.
        keys: Each with the values with which it goes; None for any value.

    >>> without_keys("model: {base: a}\nweights_only: true\nseed: 1\n", {"weights_only": (True, None), "seed": (2,)})
    'model: {base: a}\nseed: 1\n'
    """
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # what is wrong with it is the parser's to say
    if not isinstance(root, yaml.MappingNode) or root.flow_style or not isinstance(values, dict):
        return text
    kept, end = "", len(text)
    for key, _ in reversed(root.value):
        start = key.start_mark.index
        name = key.value
        wanted = keys.get(name, ())
        if wanted is not None and not any(values.get(name) is value for value in wanted):
            kept = text[start:end] + kept
        end = start
    return text[:end] + kept
