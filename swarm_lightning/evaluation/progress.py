"""How far an evaluation has come, told to whoever watches it while it goes on.

The runner's meter counts what the model does, pass by pass; a runner without one is followed from lot to lot. Nothing
here prints, and nothing that is found depends on who watches.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

# Told how many rows are answered since the last call, and how many tokens were read for them.
Heard = Callable[[float, int], None]


@dataclass(frozen=True)
class Headway:
    """How far an evaluation has come, by all ranks together as the present one sees it.

    Attributes:
        done: (candidate, example) pairs that are answered, those included that were known before.
        due: Pairs that are to be asked in all; fewer in the end where the exact stop leaves some out.
        known: Pairs that an earlier process had found out.
        tokens: Tokens that the model has read, of prompts and of replies; 0 where nobody counts them.
    """

    done: int
    due: int
    known: int
    tokens: int


class Watcher(Protocol):
    """Whoever wants to know how evaluations go on."""

    def begin(self) -> None:
        """An evaluation begins."""

    def go_on(self, standing: Headway) -> None:
        """It has come so far; called after every forward pass, or at least after every lot."""

    def end(self, whole: bool) -> None:
        """It has ended; `whole` tells whether it was not broken off."""


class Meter:
    """Counts what a model does.

    Attributes:
        rows: Rows answered so far; parts of one where a row has several continuations.
        tokens: Tokens read so far.
        passes: Forward passes so far: calls of a model, whatever the batch.
        tell: Called whenever these have changed; None where nobody listens.
    """

    def __init__(self) -> None:
        self.rows = 0.0
        self.tokens = 0
        self.passes = 0
        self.tell: Callable[[], None] | None = None

    def count(self, rows: float, tokens: int) -> None:
        """Add rows that are answered now, and tokens that were read."""
        self.rows += rows
        self.tokens += tokens
        if self.tell is not None:
            self.tell()


@runtime_checkable
class Metered(Protocol):
    """A runner that counts what its model does; optional.

    Attributes:
        meter: Its count.
    """

    meter: Meter


class Course:
    """Follows one evaluation for a watcher."""

    def __init__(self, watcher: Watcher | None, runner: object, ranks: int) -> None:
        """Begin with nothing done.

        Args:
            watcher: Who is told; None for nobody.
            runner: What answers, `Metered` or not.
            ranks: Number of processes, which are taken to be equally fast.
        """
        self._watcher, self._ranks = watcher, ranks
        self._meter = runner.meter if isinstance(runner, Metered) else Meter()
        self._before = self._meter.tokens
        self._done = self._size = self._due = self._known = 0
        self._answered = self._most = 0  # of the round, in lots that are over, and with the running one
        self._rows = 0.0  # of the meter, when the running lot began

    @contextmanager
    def followed(self) -> Iterator["Course"]:
        """Tell the watcher of an evaluation for the length of a `with` block."""
        if self._watcher is None:
            yield self
            return
        self._watcher.begin()
        self._meter.tell = self._tell
        whole = False
        try:
            yield self
            whole = True
        finally:
            self._meter.tell = None
            self._watcher.end(whole)

    def round(self, done: int, known: int, asked: int, left: int) -> None:
        """Take up a round of questions.

        Args:
            done: Pairs that the rounds before it have settled.
            known: Pairs of it that an earlier process had found out.
            asked: Pairs of it that all ranks ask now.
            left: Pairs that are open in the whole evaluation before it, at most.
        """
        self._known += known
        self._done, self._size, self._due = done + known, asked, done + left
        self._answered = self._most = 0
        self._rows = self._meter.rows
        self._tell()

    @contextmanager
    def lot(self, size: int) -> Iterator[None]:
        """Follow a lot of so many pairs for the length of a `with` block."""
        self._rows, self._most = self._meter.rows, self._answered + size
        yield
        self._answered, self._rows = self._most, self._meter.rows
        self._tell()

    def _tell(self) -> None:
        if self._watcher is None:
            return
        # A row that is asked in several turns is answered several times.
        own = min(self._answered + int(self._meter.rows - self._rows), self._most)
        done = self._done + min(own * self._ranks, self._size)
        tokens = (self._meter.tokens - self._before) * self._ranks
        self._watcher.go_on(Headway(done, self._due, self._known, tokens))
