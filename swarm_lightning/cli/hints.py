"""Makes what the parser says about a config readable, and names the key that was probably meant."""

import difflib
import importlib
import re
from collections.abc import Iterable
from typing import Any

UNKNOWN_KEYS = (
    re.compile(r"unrecognized arguments: --(?P<key>[\w.]+)"),
    re.compile(r"does not accept (?:option|nested key) '(?P<key>[\w.]+)'"),
    re.compile(r"[Oo]ption '(?P<key>[\w.]+)' is not accepted"),
    re.compile(r"[Kk]ey '(?P<key>[\w.]+)' is not expected"),
)
CLASS_PATH = re.compile(r"class_path[ =]'(?P<path>[\w.]+)'")


def readable(message: str, keys: Iterable[str]) -> str:
    """Return a parser's message with its hint, in the words of this package.

    Args:
        message: What the parser says.
        keys: All keys of a config, joined by dots.

    >>> readable("unrecognized arguments: --model.particels 5", ["model.particles", "model.base"])
    "unrecognized arguments: --model.particels 5. Did you mean 'model.particles'?"
    """
    message = message.strip().replace('in "<unicode string>"', "in the config")
    if message.startswith("Unexpected config:"):
        text = message.removeprefix("Unexpected config:").strip()
        return f"Expected the config to be a YAML mapping (key: value), but got {text[:80] or 'an empty file'}."
    found = next((match for pattern in UNKNOWN_KEYS if (match := pattern.search(message))), None)
    if found is None:
        return message
    path = CLASS_PATH.search(message)
    meant = nearest(found["key"], keys if path is None else _arguments(path["path"]))
    return f"{message}. Did you mean {' or '.join(map(repr, meant))}?" if meant else message


def nearest(key: str, keys: Iterable[str]) -> list[str]:
    """Return the known keys that a wrong one was probably meant to be, the most likely first, three at most.

    Args:
        key: What was written, such as `model.optimiser.lr`.
        keys: What there is. Below a key that is there, others may follow.

    >>> nearest("model.optimiser.lr", ["model.optimizer", "model.base"])
    ['model.optimizer.lr']
    >>> nearest("patiense", ["restart.patience", "stop.patience", "model.base"])
    ['restart.patience', 'stop.patience']
    """
    known, mended = sorted(set(keys)), ""
    parts = key.split(".")
    if len(parts) == 1 and (elsewhere := [one for one in known if one.endswith(f".{key}")]):
        return elsewhere[:3]
    for place, part in enumerate(parts):
        start = f"{mended}." if mended else ""
        children = {one[len(start) :].split(".")[0] for one in known if one.startswith(start)}
        if not children:  # below a class of the user's choice anything may follow
            return [".".join([mended, *parts[place:]])] if mended != ".".join(parts[:place]) else []
        close = [part] if part in children else difflib.get_close_matches(part, children, n=1, cutoff=0.75)
        if not close:
            break
        mended = start + close[0]
    else:
        return [mended] if mended != key else []
    last = difflib.get_close_matches(parts[-1], {one.rpartition(".")[2] for one in known}, n=1, cutoff=0.75)
    return [one for one in known if last and one.rpartition(".")[2] == last[0]][:3]


def keys_of(parser: Any) -> set[str]:
    """Return all keys that a parser and its subcommands know, joined by dots."""
    found: set[str] = set()
    for action in parser._actions:
        if isinstance(getattr(action, "choices", None), dict):  # the subcommands
            for inner in action.choices.values():
                found |= keys_of(inner)
        elif isinstance(action.dest, str) and not action.dest.endswith("help"):
            found.add(action.dest)
    return found | {".".join(key.split(".")[:count]) for key in found for count in range(1, key.count(".") + 1)}


def _arguments(path: str) -> list[str]:
    """Return the names of the arguments of a class that the config names, those it hands on to its parents included."""
    from jsonargparse import ArgumentParser

    module, _, name = path.rpartition(".")
    try:
        return list(ArgumentParser().add_class_arguments(getattr(importlib.import_module(module), name)))
    except (ImportError, AttributeError, TypeError, ValueError):
        return []
