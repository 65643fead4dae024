"""Tells faults of the user's own code, met while the parts of a config are made, from those of this package."""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_lightning.doors.jsonargparse import raised_by_a_class
from swarm_lightning.errors import InputError

PACKAGE = Path(__file__).parents[2]
LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))


@contextmanager
def told_as_input() -> Iterator[None]:
    """Turn an exception of the user's own classes, such as an objective, into one message with the line that raised it.

    Raises:
        InputError: If the user's code raised, or the config is no text.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as found:
        error = raised_by_a_class(found)
        if isinstance(error, InputError):
            raise error from None
        line = _line_of_the_user(error)
        if line is not None:
            raise InputError(
                f"Expected to make the parts that the config names, but {type(error).__name__} was raised: {error} "
                f"({line}). Fix that code, or name another class."
            ) from error
        if isinstance(error, UnicodeDecodeError):
            raise InputError(
                f"Expected the config to be UTF-8 text, but byte {error.start} is not. Convert it to UTF-8."
            ) from error
        raise


def check_seed(seed: object) -> None:
    """Refuse a seed that no generator takes.

    Args:
        seed: `seed_everything` of a config: a number, or a truth value.

    Raises:
        InputError: If it is a number outside of [0, 2^32).
    """
    if isinstance(seed, int) and not 0 <= seed < 2**32:
        raise InputError(f"Expected seed_everything to be from 0 to {2**32 - 1}, but got {seed}.")


def _line_of_the_user(error: Exception) -> str | None:
    """Name the last line that belongs neither to a library nor to this package."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_file() and not any(path.is_relative_to(folder) for folder in (PACKAGE, *LIBRARIES)):
            return f"{frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}"
    return None
