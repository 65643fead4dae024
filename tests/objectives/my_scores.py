"""Functions as users write them, good and bad; the tests import them by path."""

from swarm_lightning.data.examples import Example

LIMIT = 3


def brevity(reply: str, example: Example) -> float:
    return 1.0 if len(reply.split()) <= LIMIT else 0.25


def right(reply: str, example: Example) -> bool:
    assert example.answer is not None
    return example.answer in reply


def needs_a_column(reply: str, example: Example) -> float:
    return float(example.extras["length"])


def forgets(reply: str, example: Example) -> None:
    """Returns nothing."""


def as_text(reply: str, example: Example) -> str:
    return "1.0"


def not_a_number(reply: str, example: Example) -> float:
    return float("nan")


def too_high(reply: str, example: Example) -> int:
    return 2


def of_the_reply_alone(reply: str) -> float:
    return 1.0


class Brevity:
    """An objective, not a function."""
