"""Finds a function of the user's own by its import path, and says what is wrong where it can't be used."""

import difflib
import importlib
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from swarm_lightning.errors import InputError

WANTED = "a function of a reply and its example, as in `def score(reply, example): return float(...)`"


def find_function(path: str) -> Callable[..., Any]:
    """Import a function.

    Args:
        path: Its import path: modules and name joined by dots, as in `my_module.score`.

    Returns:
        Something that can be called with two arguments.

    Raises:
        InputError: If there is no such module or name in it, if importing it fails, or if it can't be called so.
    """
    *modules, name = path.split(".")
    if not modules or not all(part.isidentifier() for part in (*modules, name)):
        raise InputError(
            f"Expected function to be an import path such as my_module.score, for `def score` in my_module.py of the "
            f"current folder, but got {path!r}."
        )
    module = _import(".".join(modules), path)
    if not hasattr(module, name):
        there = [other for other in vars(module) if not other.startswith("_") and callable(getattr(module, other))]
        close = difflib.get_close_matches(name, there, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(
            f"Expected a function {name!r} in {getattr(module, '__file__', None) or module.__name__}, but there is "
            f"none.{hint}"
        )
    function = getattr(module, name)
    if not callable(function) or inspect.isclass(function):
        what = "a class" if inspect.isclass(function) else f"{type(function).__name__} {function!r}"
        raise InputError(
            f"Expected {path} to be {WANTED}, but it is {what}. A class that follows the protocol of objectives is set "
            "as model.objective itself."
        )
    try:
        signature = inspect.signature(function)
    except ValueError:  # some of those written in C have none
        return function
    try:
        signature.bind("", None)
    except TypeError as error:
        raise InputError(f"Expected {path} to be {WANTED}, but it takes {signature}: {error}.") from error
    return function


def name_of(function: object) -> str:
    """Return the import path of a function, or what comes nearest to it.

    >>> name_of("my_module.score"), name_of(name_of)
    ('my_module.score', 'swarm_lightning.objectives.own_function.name_of')
    """
    if isinstance(function, str):
        return function
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}".strip(".")


def where_it_failed(error: BaseException) -> str:
    """Say in which line an error arose, as the end of a sentence; empty where nobody knows."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if len(frames) > 1 else ""


def _import(module: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise InputError(
                f"Expected a module {error.name!r} for the function {path!r}, in the current folder ({Path.cwd()}) or "
                "among the installed packages, but there is none. Correct the path, or start swarm in the folder of "
                f"{error.name}.py."
            ) from error
        raise InputError(f"Expected to import {module!r} for the function {path!r}, but {error}.") from error
    except Exception as error:
        raise InputError(
            f"Expected to import {module!r} for the function {path!r}, but it raised {type(error).__name__}: {error}"
            f"{where_it_failed(error)}."
        ) from error
