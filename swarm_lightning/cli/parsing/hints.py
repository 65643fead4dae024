"""Makes what the parser says about a config readable, and names the key that was probably meant."""

import difflib
import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from swarm_lightning.doors.jsonargparse import Complaint, arguments_of, classes_of, keys_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


# A longer list of names helps nobody.
MOST_NAMES = 12


def readable(complaint: Complaint, parser: "ArgumentParser") -> str:
    """Return a parser's message with its hint, in the words of this package.

    Args:
        complaint: What the parser says.
        parser: Which one.
    """
    if complaint.no_mapping is not None:
        text = complaint.no_mapping[:80] or "an empty file"
        return f"Expected the config to be a YAML mapping (key: value), but got {text}."
    if complaint.unknown_name is not None and complaint.key is not None:
        return _about_a_name(complaint, complaint.unknown_name, complaint.key, parser)
    if complaint.unknown_key is None:
        return complaint.text
    keys = keys_of(parser) if complaint.class_path is None else _arguments(complaint.class_path)
    meant = nearest(complaint.unknown_key, keys)
    return f"{complaint.text}. Did you mean {' or '.join(map(repr, meant))}?" if meant else complaint.text


def _about_a_name(complaint: Complaint, name: str, key: str, parser: "ArgumentParser") -> str:
    """Say that a short name stands for no class, or for several."""
    if complaint.paths:
        return (
            f"Expected {key} to name one class, but {name!r} is the name of several: {', '.join(complaint.paths)}. "
            "Give its import path."
        )
    paths = [path for path in classes_of(parser, key) if not path.startswith("swarm_lightning.doors.")]
    names = sorted({path.rpartition(".")[2] for path in paths})
    close = difflib.get_close_matches(name, names, n=3)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    known = f" By their names alone go {', '.join(names)}." if 0 < len(names) <= MOST_NAMES else ""
    return (
        f"Expected {key} to name a class, but there is no {name!r}.{hint}{known} Any other class goes by its import "
        "path, as in my_module.MyClass."
    )


def nearest(key: str, keys: Iterable[str]) -> list[str]:
    """Return the known keys that a wrong one was probably meant to be, the most likely first, three at most.

    Args:
        key: What was written, such as `model.optimiser.lr`.
        keys: What there is. Below a key that is there, others may follow.

    >>> nearest("model.optimiser.lr", ["model.optimizer", "model.base"])
    ['model.optimizer.lr']
    >>> nearest("patiense", ["restart.patience", "stop.patience", "model.base"])
    ['restart.patience', 'stop.patience']
    >>> nearest("max_new", ["max_new_tokens", "stop"])
    ['max_new_tokens']
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
        close = [part] if part in children else _close_to(part, children)
        if not close:
            break
        mended = start + close[0]
    else:
        return [mended] if mended != key else []
    last = _close_to(parts[-1], {one.rpartition(".")[2] for one in known})
    return [one for one in known if last and one.rpartition(".")[2] == last[0]][:3]


def _close_to(part: str, known: Iterable[str]) -> list[str]:
    """Return the name that a wrong one was probably meant to be: one much like it, or one that begins with it."""
    close = difflib.get_close_matches(part, known, n=1, cutoff=0.75)
    return close or sorted(one for one in known if one.startswith(part))[:1]


def _arguments(path: str) -> list[str]:
    """Return the names of the arguments of a class that the config names, those it hands on to its parents included."""
    module, _, name = path.rpartition(".")
    try:
        return arguments_of(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, TypeError, ValueError):
        return []
