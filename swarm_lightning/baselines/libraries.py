"""Libraries that a single method needs: imported where they are used, and a reason to be absent where they are not."""

from importlib import import_module
from typing import Any

from swarm_lightning.baselines.method import Absent


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
