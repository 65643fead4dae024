"""Parts of a page that are left out because the run's files lack something: those of other versions of the package.

A file that is damaged is refused by name instead (`run.py`).
"""

import html
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from swarm_lightning.report.figure import Figure
from swarm_lightning.report.run import Run

Drawn = TypeVar("Drawn")
COLUMNS = re.compile(r"\[('[^']*'(?:, '[^']*')*)\]")


def shown(make: Callable[..., str], run: Run, *others: object) -> str:
    """Return a part of a page as HTML, or a line that says what is missing for it.

    Args:
        make: Makes it of the run and the others.
        run: Which.
        others: What it needs beside the run.
    """
    try:
        return make(run, *others)
    except (LookupError, AttributeError) as error:
        return note(_told(make, run, error))


def note(text: str) -> str:
    """Return a line that says what is left out, as HTML."""
    return f'<p class="note">{html.escape(text)}</p>'


def drawn(make: Callable[[Run], Drawn | None], run: Run) -> Drawn | None:
    """Return what a figure is made of; where the files lack something for it, warn and return None.

    Args:
        make: Makes it of the run, or returns None where there is nothing to draw.
        run: Which.
    """
    made = _made(make, run)
    return None if isinstance(made, LeftOut) else made


def all_drawn(makers: Sequence[Callable[[Run], Figure | None]], run: Run) -> tuple[list[Figure], list[str]]:
    """Return figures, as far as there is something to draw, and what to say of those that the files lack something for.

    Args:
        makers: Each makes one of the run, or returns None where there is nothing to draw.
        run: Which.
    """
    made = [_made(make, run) for make in makers]
    return [one for one in made if isinstance(one, Figure)], [str(one) for one in made if isinstance(one, LeftOut)]


class LeftOut(UserWarning):
    """Says what is left out, and what is lacking for it."""


def _made(make: Callable[[Run], Drawn | None], run: Run) -> Drawn | LeftOut | None:
    try:
        return make(run)
    except (LookupError, AttributeError) as error:
        left_out = LeftOut(_told(make, run, error))
        warnings.warn(left_out, stacklevel=3)
        return left_out


def _told(make: Callable[..., object], run: Run, error: LookupError | AttributeError) -> str:
    name = error.name if isinstance(error, AttributeError) else next(iter(error.args), "")
    listed = COLUMNS.search(str(name))  # pandas tells of several in a sentence of its own
    lacking = listed.group(1) if listed else repr(str(name))
    part = make.__name__.strip("_").replace("_", " ")
    return f"The part {part!r} is left out: the files of {run.name} have no {lacking}."
