"""Parts of a page that are left out because the run's files lack something: those of other versions of the package.

A file that is damaged is refused by name instead (`run.py`).
"""

import html
import warnings
from collections.abc import Callable
from typing import TypeVar

from swarm_lightning.report.run import Run

Drawn = TypeVar("Drawn")


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
        return f'<p class="note">{html.escape(_told(make, run, error))}</p>'


def drawn(make: Callable[[Run], Drawn | None], run: Run) -> Drawn | None:
    """Return a figure; where the files lack something for it, warn and return None.

    Args:
        make: Makes it of the run, or returns None where there is nothing to draw.
        run: Which.
    """
    try:
        return make(run)
    except (LookupError, AttributeError) as error:
        warnings.warn(_told(make, run, error), stacklevel=2)
        return None


def _told(make: Callable[..., object], run: Run, error: LookupError | AttributeError) -> str:
    name = error.name if isinstance(error, AttributeError) else next(iter(error.args), "")
    part = make.__name__.strip("_").replace("_", " ")
    return f"The part {part!r} is left out: the files of {run.name} have no {str(name)!r}."
