"""Signals that ask a run to end, and the places where it does so: between two lots of questions, or inside of one.

What was found until then lies in the journal of scores, so nothing is lost, and nobody has to wait for the end of an
iteration. Models that run pass by pass leave a lot between two passes; see `told_rows.py`. A second signal changes
nothing; SIGKILL loses no more than the running lot.
"""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

# What a scheduler, a machine that is taken away, and SLURM with `--signal=USR1` send.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
_asked: int | None = None


class Interrupted(Exception):  # noqa: N818 - a wish, not an error
    """The run was asked to end, and does so in order.

    Attributes:
        signal: Number of the signal.
        shared: All ranks raise it together.
    """

    shared = True

    def __init__(self, number: int) -> None:
        """Say by which signal.

        Args:
            number: Of the signal.
        """
        super().__init__(f"The run was asked to end by {signal.Signals(number).name}.")
        self.signal = number


def check() -> None:
    """End the run here if it was asked to.

    Raises:
        Interrupted: If a signal has come since `in_order` began.
    """
    if _asked is not None:
        raise Interrupted(_asked)


def asked() -> bool:
    """Tell whether a signal has come since `in_order` began."""
    return _asked is not None


def listen(signals: Iterable[int] = SIGNALS) -> None:
    """Note signals from now on; whoever listened to them before no longer does.

    Args:
        signals: Their numbers. Outside of the main thread nobody can listen, and nothing is done.
    """
    if threading.current_thread() is threading.main_thread():
        for number in signals:
            signal.signal(number, _note)


@contextmanager
def in_order() -> Iterator[None]:
    """Note signals for the length of a `with` block, and give back what was there before."""
    global _asked
    _asked = None
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS} if main else {}
    listen()
    try:
        yield
    finally:
        _asked = None
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _note(number: int, frame: Any) -> None:
    global _asked
    _asked = number
