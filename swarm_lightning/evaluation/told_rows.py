"""What is left of a call that ended between two passes: the rows that were answered are scored, the others are not.

A forward pass of a large model takes seconds and a lot has several, so a run that is asked to end does not wait for the
last one. The call of the model raises `LeftOff` then, through the objective; the objective is called once more, for the
answered rows alone, and is told what the model had said to each of them.

A resumed search must end as one that was never stopped, and the rest of a lot makes other batches than the whole. So
what hangs on the last digits of numbers is not kept, and the whole lot is asked again: answers in half precision, and
scores that are no whole numbers.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.objectives.protocol import GenerationSettings, RowDecided

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Said:
    """One call of a model.

    Attributes:
        rows: The rows of it.
        answers: A reply or likelihoods for each.
        unanswered: Which of them, by their place in the call, were left; their answers mean nothing.
    """

    rows: tuple[int, ...]
    answers: Sequence[Any]
    unanswered: frozenset[int] = frozenset()


class LeftOff(BaseException):  # noqa: N818 - no error; not an Exception, which an objective may catch
    """A call of the model was left between two passes.

    Attributes:
        said: All calls so far, the last of which is the one that was left; none where nothing is to be kept.
    """

    def __init__(self, said: Sequence[Said] = ()) -> None:
        """Say what the model has answered.

        Args:
            said: All calls so far.
        """
        super().__init__()
        self.said = tuple(said)

    def answered(self, rows: Sequence[int]) -> list[int]:
        """Return those of some rows that no call has left."""
        if not self.said:
            return []
        last = self.said[-1]
        left = {last.rows[place] for place in last.unanswered}
        return [row for row in rows if row not in left]


@runtime_checkable
class LeavesCalls(Protocol):
    """Rows whose calls can be left between two passes; optional, beside `Rows`."""

    def may_leave(self, leave: Callable[[], bool]) -> None:
        """Let calls end between two passes, with `LeftOff`.

        Args:
            leave: Asked before every pass whether to end now.
        """


class ToldRows:
    """Rows that are told again what a model had said to them, call by call; follows the protocol `Rows`.

    Attributes:
        tokenizer: The model's.
        device: Where the model computes.
        broken: Rows for which the model had given NaN or infinity, by their place among these.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        device: torch.device,
        said: Sequence[Said],
        rows: Sequence[int],
        broken: Collection[int],
    ) -> None:
        """Take what was said.

        Args:
            tokenizer: The model's.
            device: Where the model computes.
            said: Its calls.
            rows: Which rows these are.
            broken: Rows that are broken.
        """
        self.tokenizer, self.device = tokenizer, device
        self.broken = {place for place, row in enumerate(rows) if row in broken}
        self._rows = tuple(rows)
        self._left = [dict(zip(call.rows, call.answers, strict=True)) for call in said]

    def select(self, places: Sequence[int]) -> "ToldRows":
        """Return some of the rows; the calls that come next are common to all."""
        selected = ToldRows(self.tokenizer, self.device, (), [self._rows[place] for place in places], ())
        selected._left = self._left
        return selected

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        """Return the replies of the next call."""
        return self._next()

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> Likelihoods:
        """Return the likelihoods of the next call."""
        return Likelihoods.of(self._next())

    def _next(self) -> list[Any]:
        """Return what the next call had answered to these rows.

        Raises:
            LeftOff: If there was no such call, or not of all of them.
        """
        answers = self._left.pop(0) if self._left else {}
        if not all(row in answers for row in self._rows):
            raise LeftOff
        return [answers[row] for row in self._rows]
