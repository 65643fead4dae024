"""Likelihoods of many rows as one table: what `LanguageModel.loglikelihood` returns, and what objectives score in bulk.

Row by row it is a list of `Likelihood`, made when somebody reads it. A search by likelihoods compares a few choices of
ten thousands of rows; an object for every choice would take longer than the numbers themselves where these are known.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, overload

from swarm_lightning.objectives.protocol import Likelihood

if TYPE_CHECKING:
    from torch import Tensor


class Likelihoods(Sequence[list[Likelihood]]):
    """Likelihoods of the continuations of R rows.

    F is the number of all continuations, those of one row behind those of another, and C the most that a row has.
    """

    def __init__(
        self,
        counts: "Tensor",
        logarithms: "Tensor",
        tokens: "Tensor",
        characters: "Tensor",
        greedy: Callable[[], "Tensor"],
    ) -> None:
        """Take the numbers; see `Likelihood`.

        Args:
            counts: How many continuations every row has [R].
            logarithms: Of all of them [F] float64.
            tokens: How many each has [F].
            characters: How many each has [F].
            greedy: Returns which of them are [F] bool; called if somebody asks.
        """
        self._counts, self._logarithms = counts, logarithms
        self._sizes = {"tokens": tokens, "characters": characters}
        self._greedy = greedy

    @classmethod
    def of(cls, rows: Sequence[Sequence[Likelihood]]) -> "Likelihoods":
        """Return rows as a table; a table is returned as it is.

        Args:
            rows: What a language model said.
        """
        if isinstance(rows, cls):
            return rows
        import torch

        flat = [one for row in rows for one in row]
        return cls(
            torch.tensor([len(row) for row in rows], dtype=torch.long),
            torch.tensor([one.logarithm for one in flat], dtype=torch.float64),
            torch.tensor([one.tokens for one in flat], dtype=torch.long),
            torch.tensor([one.characters for one in flat], dtype=torch.long),
            lambda: torch.tensor([one.greedy for one in flat], dtype=torch.bool),
        )

    def divided(self, normalize: str) -> "Tensor":
        """Return all logarithms, each divided by the size of its continuation.

        Args:
            normalize: none, tokens or characters: what a size is; 1 with none.

        Returns:
            [R, C] float64 with C >= 1, -inf behind the last continuation of a row.

        >>> one, other = [Likelihood(-4.0, 2, 1)], [Likelihood(-1.0, 1, 1), Likelihood(-3.0, 3, 1)]
        >>> Likelihoods.of([one, other]).divided("tokens")
        tensor([[-2., -inf],
                [-1., -1.]], dtype=torch.float64)
        """
        import torch

        values = self._logarithms if normalize == "none" else self._logarithms / self._sizes[normalize]
        width = max(int(self._counts.max()) if len(self._counts) else 1, 1)
        table = torch.full((len(self._counts), width), -torch.inf, dtype=torch.float64)
        table[torch.arange(width) < self._counts[:, None]] = values
        return table

    def broken(self) -> list[int]:
        """Return the rows in which a logarithm is no number."""
        import torch

        rows = torch.arange(len(self._counts)).repeat_interleave(self._counts)
        return rows[self._logarithms.isnan()].unique().tolist()

    def empty(self) -> list[int]:
        """Return the rows without a continuation."""
        return (self._counts == 0).nonzero().flatten().tolist()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._counts)

    @overload
    def __getitem__(self, place: int) -> list[Likelihood]: ...

    @overload
    def __getitem__(self, place: slice) -> list[list[Likelihood]]: ...

    def __getitem__(self, place: int | slice) -> list[Likelihood] | list[list[Likelihood]]:
        """Return a row, or some of them."""
        return self._rows[place]

    def __eq__(self, other: object) -> bool:
        """Tell whether another table, or a list of lists, holds the same."""
        return isinstance(other, Sequence) and self._rows == list(other)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _rows(self) -> list[list[Likelihood]]:
        flat = map(
            Likelihood,
            self._logarithms.tolist(),
            self._sizes["tokens"].tolist(),
            self._sizes["characters"].tolist(),
            self._greedy().tolist(),
        )
        return [list(islice(flat, count)) for count in self._counts.tolist()]


def places_of_runs(starts: "Tensor", counts: "Tensor") -> "Tensor":
    """Return the places of runs of neighbours, one run behind the other.

    Args:
        starts: The first place of every run [R].
        counts: How many places each has [R].

    >>> import torch
    >>> places_of_runs(torch.tensor([5, 0, 5]), torch.tensor([2, 3, 1])).tolist()
    [5, 6, 0, 1, 2, 5]
    """
    import torch

    ends = counts.cumsum(0)
    return torch.arange(int(counts.sum())) + (starts - ends + counts).repeat_interleave(counts)
