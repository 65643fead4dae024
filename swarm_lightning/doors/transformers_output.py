"""Logits of exactly those places of a batch that are read, without any for the others.

Tested with transformers 5.0 to 5.24. Relied on:
- `get_output_embeddings()` is the layer that `forward` calls, once, with hidden states [B, T, H] to make logits, and
  what `forward` does to logits after it (scaling, capping, a bias) treats every place alike;
- `base_model`, `get_decoder()` or `model` is the part of the model that `forward` calls once for the hidden states, and
  of which it reads no more than what that returns.
Both are tried out on the model itself when it is taken over. Where the first does not hold, logits of all places are
made and picked from; where the second does not hold, all wanted ones are made at once.

For the length of a call a hook gives the output layer only the wanted hidden states, side by side in memory. (A part
of the columns of [B, T, H] is not, and for a weight without gradient torch then copies the weight for every row: 48
rows in bfloat16 at a vocabulary of 49,152 took 12 s and 2.6 GB instead of 0.02 s and 4 MB.) More of them than fit into
a piece are given to it piece by piece: `forward` is called again, while the base model hands out what it returned
before.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from swarm_lightning.doors.transformers_config import largest_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PIECE_BYTES = 2**25  # of logits in float32 that exist at a time
COPIES_WITH_GRADIENT = 4  # of these: the logits, their logarithms and exponentials, and the gradient

# Calls the model; where not None, only logits of so many columns at the end are wanted.
Call = Callable[[int | None], Any]


@dataclass(frozen=True)
class Places:
    """Places of a batch whose logits are wanted, W of them.

    Attributes:
        rows: Their rows.
        columns: Their columns.
    """

    rows: Sequence[int]
    columns: Sequence[int]


@dataclass(frozen=True)
class _Piece:
    """Places whose logits are made together.

    Attributes:
        wanted: Which of the wanted places these are [w].
        rows: Rows of the hidden states that the output layer is given, [1, w] or [B, 1].
        columns: Columns of these, [1, w] or [B, k].
        picked: Which of the layer's outputs belong to the wanted places [w]; None for all, in order.
    """

    wanted: Tensor
    rows: Tensor
    columns: Tensor
    picked: Tensor | None


class OutputLayer:
    """Makes logits of the wanted places of a model's batches.

    Attributes:
        reason: Why the wanted hidden states can't be given to the output layer alone; None where they can.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        """Take over a model; `try_out` must follow."""
        self._model = model
        get = getattr(model, "get_output_embeddings", None)
        self._layer: torch.nn.Module | None = None if get is None else get()
        self._inner: torch.nn.Module | None = None
        # Any other layer may make a difference between rows, as one does that carries adapters.
        self._mixes_rows = isinstance(self._layer, torch.nn.Linear)
        self._vocabulary = 1
        self._seen: tuple[int, ...] | None = None
        self.reason: str | None = None

    def try_out(self, call: Call, shape: tuple[int, int], tolerance: float) -> None:
        """Find out how logits of the wanted places can be made, with one batch.

        Args:
            call: Runs the model on the batch, without a cache.
            shape: Rows and columns of the batch, two or more of each.
            tolerance: How far logits may differ, as a share of the largest.
        """
        columns = shape[1]
        whole = call(None).logits
        self._vocabulary = whole.shape[-1]
        if self._layer is None:
            self.reason = "it has no output layer (get_output_embeddings)"
            return
        places = Places([1, 0, 1, 0], [0, columns - 1, columns - 1, 0])
        expected = whole[list(places.rows), list(places.columns)]

        def differs(most: int) -> str | None:
            try:
                found = torch.empty_like(expected)
                for wanted, logits in self._in_pieces(call, shape, places, most, whole.device):
                    found[wanted] = logits
            except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as cause:
                return str(cause)
            error = difference(found, expected)
            return None if error <= tolerance else f"its logits then differ by {error:.1%} of the largest"

        self.reason = differs(len(places.rows))
        if self.reason is None:
            for inner in self._inner_models():
                self._inner = inner
                if differs(1) is None:
                    return
            self._inner = None

    def logits(
        self, call: Call, shape: tuple[int, int], places: Places, together: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Run a model once and yield logits of the wanted places, piece by piece.

        Args:
            call: Runs the model on the batch.
            shape: Rows and new columns of the batch, [B, T].
            places: What is wanted, W of them.
            together: So many wanted places, one after the other, always stand in one piece.
            device: Where the model computes.

        Yields:
            Which of the wanted places these are [w], and their logits [w, vocabulary].
        """
        most = max(PIECE_BYTES // (4 * self._vocabulary) // together, 1) * together
        if self.reason is None:
            yield from self._in_pieces(call, shape, places, most, device)
            return
        columns, first = shape[1], min(places.columns)
        logits = call(columns - first).logits
        skipped = columns - logits.shape[1]  # 0 where the model can't be told what is wanted
        for start in range(0, len(places.rows), most):
            wanted = torch.arange(start, min(start + most, len(places.rows)), device=device)
            rows_of, columns_of = (torch.tensor(part, device=device)[wanted] for part in (places.rows, places.columns))
            yield wanted, logits[rows_of, columns_of - skipped]

    def summed(
        self,
        call: Call,
        shape: tuple[int, int],
        places: Places,
        function: Callable[[Tensor, Tensor], Tensor],
        device: torch.device,
    ) -> Tensor:
        """Run a model once and sum what a function makes of logits of the wanted places, with gradients.

        Where they are many, the logits of a piece are made again on the way back, and never those of all pieces exist.

        Args:
            call: Runs the model on the batch.
            shape: Rows and new columns of the batch, [B, T].
            places: What is wanted, W of them, one or more.
            function: Given which of the wanted places these are [w] and their logits [w, vocabulary], returns a number.
            device: Where the model computes.

        Returns:
            The sum, a tensor without dimensions.
        """
        most = max(PIECE_BYTES // COPIES_WITH_GRADIENT // (4 * self._vocabulary), 1)
        inner = self._inner
        if self.reason is not None or inner is None or len(places.rows) <= most:
            made = self.logits(call, shape, places, len(places.rows), device)
            return torch.stack([function(wanted, logits) for wanted, logits in made]).sum()
        remembered: list[Any] = []
        hook = inner.register_forward_hook(lambda _, __, found: remembered.append(found))
        cut = _cut_flat if self._mixes_rows else _cut_by_rank
        try:
            with self._given(cut(Places(places.rows[:1], places.columns[:1]), shape[0], 1, device)[0], shape):
                call(None)
        finally:
            hook.remove()

        def part(piece: _Piece) -> Tensor:
            with self._given(piece, shape), _returning(inner, remembered[0]):
                output = call(None)
            return function(piece.wanted, self._taken(piece, output, shape))

        pieces = cut(places, shape[0], most, device)
        return torch.stack([checkpoint(part, piece, use_reentrant=False) for piece in pieces]).sum()

    def last(self, call: Call, shape: tuple[int, int], device: torch.device) -> Tensor:
        """Run a model once and return the logits of the last column [B, vocabulary]."""
        if self.reason is not None:
            logits: Tensor = call(1).logits[:, -1]
            return logits
        rows, columns = shape
        index = torch.arange(rows, device=device)
        piece = _Piece(index, index[:, None], torch.full((rows, 1), columns - 1, device=device), None)
        with self._given(piece, shape):
            output = call(None)
        return self._taken(piece, output, shape)

    def _inner_models(self) -> list[torch.nn.Module]:
        """Return what may be the part of the model that computes the hidden states."""
        model = self._model
        found = [getattr(model, "base_model", None), getattr(model, "get_decoder", lambda: None)()]
        found.append(getattr(model, "model", None))  # Llama 4's text model names another one as its base
        return [inner for inner in found if isinstance(inner, torch.nn.Module) and inner is not model]

    def _in_pieces(
        self, call: Call, shape: tuple[int, int], places: Places, most: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if self._inner is None:
            most = len(places.rows)
        cut = _cut_flat if self._mixes_rows else _cut_by_rank
        pieces = cut(places, shape[0], most, device)
        remembered: list[Any] = []
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            inner = self._inner
            with self._given(piece, shape):
                if remembered:
                    assert inner is not None
                    with _returning(inner, remembered[0]):
                        output = call(None)
                elif inner is None or last:
                    output = call(None)
                else:
                    hook = inner.register_forward_hook(lambda _, __, found: remembered.append(found))
                    try:
                        output = call(None)
                    finally:
                        hook.remove()
                    if len(remembered) != 1:
                        raise RuntimeError(f"its base model is called {len(remembered)} times")
            logits = self._taken(piece, output, shape)
            del output
            yield piece.wanted, logits
            del logits  # before the next ones are made

    @contextmanager
    def _given(self, piece: _Piece, shape: tuple[int, int]) -> Iterator[None]:
        """Give the output layer the hidden states of a piece, for the length of a `with` block."""
        self._seen = None

        def gather(_: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden, *others = arguments
            self._seen = tuple(hidden.shape[:-1])
            return (hidden[piece.rows, piece.columns], *others) if self._seen == shape else arguments

        assert self._layer is not None
        hook = self._layer.register_forward_pre_hook(gather)
        try:
            yield
        finally:
            hook.remove()

    def _taken(self, piece: _Piece, output: Any, shape: tuple[int, int]) -> Tensor:
        if self._seen != shape:
            raise RuntimeError(f"its output layer is given hidden states of the places {self._seen}, not {shape}")
        logits: Tensor = output.logits
        made = torch.broadcast_shapes(piece.rows.shape, piece.columns.shape)
        if logits.shape != (*made, self._vocabulary):
            raise RuntimeError(f"it makes logits of the shape {list(logits.shape)} from {list(made)} places")
        flat = logits.flatten(0, 1)
        return flat if piece.picked is None else flat[piece.picked]


def trial_tokens(model: "PreTrainedModel", count: int) -> Tensor:
    """Return two equal rows of tokens that a model has, to try it out with [2, count]."""
    vocabulary = largest_of(model.config.get_text_config(), "vocab_size") or 1
    return (torch.arange(count, device=model.device) * 7 + 3).remainder(vocabulary).repeat(2, 1)


def tolerance_of(dtype: torch.dtype) -> float:
    """Return by which share of the largest logit rounding may change others: 1e-4 in float32, 3% in bfloat16."""
    return max(1e-4, 4 * torch.finfo(dtype).eps)


def difference(found: Tensor, expected: Tensor) -> float:
    """Return how far logits are from the expected ones at most, as a share of the largest of these.

    >>> difference(torch.tensor([4.0, 0.0]), torch.tensor([4.0, 1.0]))
    0.25
    """
    found, expected = (part.float().nan_to_num() for part in (found, expected))
    error = float((found - expected).abs().max())
    return error / max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)


def _cut_flat(places: Places, rows: int, most: int, device: torch.device) -> list[_Piece]:
    """Cut the wanted places as they come."""
    pieces = []
    for start in range(0, len(places.rows), most):
        part = slice(start, start + most)
        of_rows = torch.tensor(places.rows[part], device=device)
        columns = torch.tensor(places.columns[part], device=device)
        wanted = torch.arange(start, start + len(of_rows), device=device)
        pieces.append(_Piece(wanted, of_rows[None], columns[None], None))
    return pieces


def _cut_by_rank(places: Places, rows: int, most: int, device: torch.device) -> list[_Piece]:
    """Cut the wanted places so that a piece holds equally many of every row, some without meaning."""
    ranks, counts = [], [0] * rows
    for row in places.rows:
        ranks.append(counts[row])
        counts[row] += 1
    width = max(most // rows, 1)
    pieces = []
    for start in range(0, max(counts), width):
        size = min(width, max(counts) - start)
        wanted = [place for place, rank in enumerate(ranks) if start <= rank < start + size]
        columns = torch.zeros(rows, size, dtype=torch.long)
        for place in wanted:
            columns[places.rows[place], ranks[place] - start] = places.columns[place]
        picked = [places.rows[place] * size + ranks[place] - start for place in wanted]
        pieces.append(
            _Piece(
                torch.tensor(wanted, device=device),
                torch.arange(rows, device=device)[:, None],
                columns.to(device),
                torch.tensor(picked, device=device),
            )
        )
    return pieces


@contextmanager
def _returning(module: torch.nn.Module, output: Any) -> Iterator[None]:
    """Let a module return what it has returned before, without computing, for the length of a `with` block."""
    own = module.__dict__.get("forward")  # where another library has put one
    module.forward = lambda *_, **__: output
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
