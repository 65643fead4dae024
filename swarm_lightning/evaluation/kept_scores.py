"""Scores of evaluations beside a search's own, on disk until what they are for is written down.

`swarm score` and the methods of `swarm compare` ask the same in the same order whenever they are begun anew: what an
earlier process has found of an evaluation is known again by its number, and by marks of who was asked. See
`score_journal.py` for the files.
"""

import json
from collections.abc import Sequence, Sized
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.ranks import Ranks, digest
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.vectors import Vector, Vectors

# Weights of a particle that its mark is made of: a move changes nearly all of them, so a few thousand tell positions
# apart, and reading them costs nothing beside the evaluation however large D is.
MARKED = 4096
PIECE = 256
SECONDS = "seconds.json"


class KeptScores:
    """Keeps what evaluations find until `clear`.

    Attributes:
        seconds: What they had taken when an earlier process was asked to end.
    """

    def __init__(self, folder: Path, identity: object) -> None:
        """Choose where they lie; nothing is read or written yet.

        Args:
            folder: Of the files, of its own.
            identity: What the scores depend on beside candidates and examples, and what they are for: plain values.
        """
        self._folder, self._identity = folder, identity
        self._journal = ScoreJournal(folder)
        self._count = 0
        path = folder / SECONDS
        self.seconds = float(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else 0.0

    def journal(
        self,
        candidates: Sized | None,
        numbers: Sequence[int],
        examples: Sequence[Example],
        ranks: Ranks,
        how: object,
    ) -> ScoreJournal:
        """Return what is known of the next evaluation, and where to note what it finds.

        Args:
            candidates: Who is asked: weights [P, D] or P vectors, or the base for None. Of others nothing is kept.
            numbers: The particle that each of them is.
            examples: What is asked.
            ranks: The processes that share the work.
            how: What else a score depends on, as plain values.
        """
        self._count += 1
        if candidates is not None and not _are_vectors(candidates):
            return ScoreJournal()
        marks = [] if candidates is None else marks_of(candidates)
        asked = [(example.identifier, example.question, example.answer) for example in examples]
        self._journal.begin(digest(self._identity, self._count, how, list(numbers), asked, marks), ranks)
        return self._journal

    def interrupt(self, seconds: float) -> None:
        """Note how long it has taken until now, on the first rank; where nothing was kept, nothing is noted.

        Args:
            seconds: In all, those of earlier processes included.
        """
        if self._folder.is_dir():
            write_whole(self._folder / SECONDS, json.dumps(seconds))

    def clear(self, ranks: Ranks) -> None:
        """Forget everything: what it was for is written down.

        Args:
            ranks: The processes that share the work; all call it.
        """
        self._journal.clear()
        ranks.gather_objects([])  # every rank has removed its own file then
        if ranks.index == 0:
            with storage_errors(self._folder), suppress(FileNotFoundError):
                (self._folder / SECONDS).unlink(missing_ok=True)
                self._folder.rmdir()


def marks_of(positions: Vectors) -> list[str]:
    """Return a fingerprint of every position.

    Args:
        positions: Weights of N particles [N, D], or N vectors.

    >>> one, same, other = marks_of(torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]))
    >>> one == same, one == other
    (True, False)
    """
    return [digest(_sample(position).cpu().contiguous().view(torch.uint8).numpy().tobytes()) for position in positions]


def _are_vectors(candidates: Sized) -> TypeGuard[Vectors]:
    """Tell whether candidates are numbers, and not functions that mix models or graphs of them."""
    if not isinstance(candidates, Sequence) or not candidates:
        return isinstance(candidates, Tensor)
    return hasattr(candidates[0], "__getitem__") and isinstance(candidates[0][:1], Tensor)


def _sample(position: Vector) -> Tensor:
    if isinstance(position, Tensor):
        return position[:: max(1, len(position) // MARKED)]
    step = max(PIECE, len(position) * PIECE // MARKED)  # on the disk, numbers that lie together cost one reading
    return torch.cat([position[start : start + PIECE] for start in range(0, len(position), step)])
