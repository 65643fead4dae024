"""Why a method has no place in a comparison: a reason that the table shows, such as a library that is not there."""

from importlib import import_module
from typing import Any


class Absent(Exception):  # noqa: N818 - not an error: the comparison goes on
    """A method has no place in this comparison; the message says why."""


def installed(name: str) -> Any:
    """Return a module of the extra `compare`.

    Args:
        name: Its import name.

    Raises:
        Absent: If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise Absent(f"needs {name.split('.')[0]}: pip install 'swarm-lightning[compare]' ({error})") from error
