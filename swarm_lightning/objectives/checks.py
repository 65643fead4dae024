"""Early checks of the values that a user gives to an objective, each with a message that says what to do."""

from collections.abc import Sequence

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
