"""Scores on disk as soon as they are found, so that a search that is killed never asks the same twice.

One file per rank beside the checkpoint, one line per lot: what was asked of whom, and what came of it. It is appended
to, so a kill can only cut the last line short; each line bears a checksum, and one that is not whole counts as none.
A line belongs to a key: who is asked what, in which state. Once a checkpoint holds an iteration its lines go.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from swarm_lightning.evaluation.counts import plus
from swarm_lightning.evaluation.lots import Pair
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.files import storage_errors
from swarm_lightning.objectives.protocol import Outcome

PREFIX, SUFFIX = "scores_", ".jsonl"
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Line:
    """One lot of a journal.

    Attributes:
        lot: Pairs of a particle and an example.
        outcomes: One for each.
        generated: Tokens that were generated for them.
        passes: Forward passes that they took; None where nobody has counted them.
    """

    lot: list[Pair]
    outcomes: list[Outcome]
    generated: int
    passes: int | None = None


class ScoreJournal:
    """What is known of the evaluation that is going on; without a folder, nothing.

    Attributes:
        recalled: Tokens that were generated for what `recall` has returned since `begin`.
        recalled_passes: Forward passes that it took; None where nobody has counted them.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Choose where it lies; nothing is read or written yet.

        Args:
            folder: Of the files; None keeps nothing.
        """
        self.recalled = 0
        self.recalled_passes: int | None = 0
        self._folder = folder
        self._ranks = Ranks()
        self._file: IO[bytes] | None = None
        self._made = False
        self._key = ""
        self._known: dict[Pair, Outcome] = {}
        self._tokens = 0
        self._passes: int | None = 0
        # What an earlier process has left, by key; read once.
        self._left: dict[str, list[Line]] | None = None

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._folder is not None

    def begin(self, key: str, ranks: Ranks) -> None:
        """Start an evaluation.

        Args:
            key: Of the evaluation; one of the same key has the same scores.
            ranks: The processes that share the work; the first reads what an earlier process has left.
        """
        if self._folder is None:
            return
        self._ranks, self._key, self.recalled, self.recalled_passes = ranks, key, 0, 0
        if self._left is None:
            self._left = ranks.first(_read(self._folder) if ranks.index == 0 else {})
        lines = self._left.pop(key, [])
        self._known = {pair: outcome for line in lines for pair, outcome in zip(line.lot, line.outcomes, strict=True)}
        self._tokens = sum(line.generated for line in lines)
        self._passes = plus(*(line.passes for line in lines))

    def recall(self, lots: Sequence[Sequence[Pair]]) -> tuple[list[tuple[Pair, Outcome]], list[list[Pair]]]:
        """Part what is known of the lots from what is left to ask.

        A lot is asked as a whole or not at all, as long as lots are cut as they were.

        Args:
            lots: Pairs of a particle and an example.

        Returns:
            The known pairs with their outcomes, and the lots without them.
        """
        known = [(pair, self._known[pair]) for lot in lots for pair in lot if pair in self._known]
        if known:
            self.recalled, self.recalled_passes = self._tokens, self._passes
        left = [[pair for pair in lot if pair not in self._known] for lot in lots]
        return known, [lot for lot in left if lot]

    def keep(self, lot: Sequence[Pair], outcomes: Sequence[Outcome], generated: int, passes: int | None = None) -> None:
        """Write down what a lot has given. Outcomes that are no plain values are asked again after a kill.

        Args:
            lot: Pairs of a particle and an example.
            outcomes: One for each.
            generated: Tokens that were generated for them.
            passes: Forward passes that they took; None where nobody can count them.

        Raises:
            StorageError: If it can't be written.
        """
        if self._folder is None:
            return
        line = encode_line(self._key, Line(list(lot), list(outcomes), generated, passes))
        if line is None:
            return
        path = self._path(self._ranks.index)
        with storage_errors(path):
            if self._file is None:
                if not self._made:  # a folder that vanishes later is not made anew
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._made = True
                self._file = path.open("ab", buffering=0)
                line = b"\n" + line  # the last line of an earlier process may be cut short
            self._file.write(line)

    def clear(self) -> None:
        """Forget everything: a checkpoint holds it."""
        if self._folder is None:
            return
        self._known, self._left = {}, {}
        if self._file is not None:
            self._file.close()
            self._file = None
        self._path(self._ranks.index).unlink(missing_ok=True)
        if self._ranks.index == 0:  # what more ranks than now have left
            for path in self._folder.glob(f"{PREFIX}*{SUFFIX}"):
                if int(path.name.removeprefix(PREFIX).removesuffix(SUFFIX)) >= self._ranks.count:
                    path.unlink(missing_ok=True)

    def _path(self, rank: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{PREFIX}{rank}{SUFFIX}"


def encode_line(key: str, line: Line) -> bytes | None:
    r"""Return a line of the journal; None where an outcome holds more than plain values.

    Args:
        key: Of the evaluation.
        line: What it holds.

    >>> encode_line("k", Line([(0, 3)], [Outcome("a", None, 0.5)], 2, 1))
    b'7da8ce70 ["k", [[0, 3]], [["a", null, 0.5]], 2, 1]\n'
    """
    values = [list(vars(outcome).values()) for outcome in line.outcomes if type(outcome) is Outcome]
    if len(values) < len(line.outcomes) or not all(type(value) in PLAIN for row in values for value in row):
        return None
    text = json.dumps([key, [list(pair) for pair in line.lot], values, line.generated, line.passes]).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_line(line: bytes) -> tuple[str, Line] | None:
    """Return the key and the content of a line; None where it is not whole.

    Args:
        line: With or without its end.

    >>> decode_line(b'a4921b0a ["k", [[0, 3]], [["a", nul')
    >>> key, content = decode_line(b'a4921b0a ["k", [[0, 3]], [["a", null, 0.5]], 2]')
    >>> key, content.lot, content.outcomes
    ('k', [(0, 3)], [Outcome(reply='a', answer=None, score=0.5)])
    """
    checksum, _, text = line.strip().partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text) or not text:
        return None
    key, lot, values, *counts = json.loads(text)  # earlier versions have counted no passes
    return key, Line([(particle, place) for particle, place in lot], [Outcome(*value) for value in values], *counts)


def _read(folder: Path) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for path in filter(Path.is_file, sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))):
        for key, line in filter(None, map(decode_line, path.read_bytes().splitlines())):
            found.setdefault(key, []).append(line)
    return found
