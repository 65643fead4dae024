"""What the searches of a sweep say on the screen: each notice once, however many searches have it.

Lightning's own remarks on the course of a single search are left out; a sweep has a line of its own for that.
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

LOGGERS = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed")
COURSE = ("`Trainer.fit` stopped", "Restoring states from", "Restored all states from", "Seed set to")


@contextmanager
def said_once() -> Iterator[None]:
    """Let every notice and every warning through once, for the length of a `with` block."""
    said: set[object] = set()

    def is_new(what: object) -> bool:
        known = what in said
        said.add(what)
        return not known

    def is_wanted(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not message.startswith(COURSE) and is_new(message)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if is_new((category, str(message))):
            before(message, category, filename, lineno, file, line)

    before, warnings.showwarning = warnings.showwarning, show
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(is_wanted)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_wanted)
        warnings.showwarning = before


def without_bars() -> None:
    """Show no further bars of models that are loaded: the first search has shown them."""
    if "transformers" in sys.modules:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
