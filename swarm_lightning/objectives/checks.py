"""Early checks of what a user gives to an objective, each with a message that says what to do."""

from collections.abc import Mapping, Sequence
from typing import Any

from swarm_lightning.errors import InputError


def check_at_least_one(name: str, value: int) -> None:
    """Refuse a count that is not a whole number of one or more.

    Args:
        name: What the user calls it.
        value: The count.

    Raises:
        InputError: If it is below one or not an integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"Expected {name} to be a whole number of 1 or more, but got {value!r}.")


def check_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not among the allowed ones.

    Args:
        name: What the user calls it.
        value: The word.
        allowed: The words there are.

    Raises:
        InputError: If it is none of them.
    """
    if value not in allowed:
        raise InputError(f"Expected {name} to be one of {', '.join(allowed)}, but got {value!r}.")


def check_same_model(what: str, source: str | None, present: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Refuse to go on with another model that scores than the one that a search began with.

    Args:
        what: What it is, for the message: "reward model".
        source: Its folder or hub id.
        present: The state of the objective, with the `fingerprint` of its model; None or missing where it has none yet.
        saved: The same of the search that it goes on with.

    Raises:
        InputError: If both have a model, and it is not the same.
    """
    own, first = present.get("fingerprint"), saved.get("fingerprint")
    if None not in (own, first) and own != first:
        raise InputError(
            f"Expected the {what} that the search began with, but {source!r} holds another one now. Put the first one "
            "back, or start a new search."
        )
