"""How likely particles find given continuations of prompts, without generating.

What a particle is fed twice is computed once. What all prompts begin with stands before every row; a prompt with
several continuations is read once, and they are read behind its keys and values, where the model allows it; choices of
one token each (letters, mostly) need nothing but the prompt. Equal continuations get exactly equal numbers. Logits are
computed for the continuations' tokens only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.doors.transformers_output import Places
from swarm_lightning.evaluation.engine.batches import Batch, lay_out, queues_of
from swarm_lightning.evaluation.engine.crowd import SHORTEST_PREFIX, Crowd
from swarm_lightning.evaluation.engine.tokens import Continuation
from swarm_lightning.evaluation.progress import Heard

if TYPE_CHECKING:
    from swarm_lightning.evaluation.engine.pass_cache import PassCache

CHUNK_BYTES = 2**23  # of logits in float32 whose exponentials are summed at a time


@dataclass
class Row:
    """Tokens that a particle is fed, and who reads what it says about the next ones.

    Attributes:
        particle: The particle.
        ids: The tokens, those included that stand before the row and are not fed.
        reads: For places behind these tokens or among them, the continuations (by number) whose token stands there.
        tails: Rows that go on where this one ends.
    """

    particle: int
    ids: tuple[int, ...]
    reads: dict[int, list[int]] = field(default_factory=dict)
    tails: list["Row"] = field(default_factory=list)

    def read(self, places: range, number: int) -> None:
        """Let a continuation read these places."""
        for place in places:
            self.reads.setdefault(place, []).append(number)


@torch.inference_mode()
def loglikelihoods(
    crowd: Crowd,
    particles: Sequence[int],
    continuations: Sequence[Continuation],
    slots: int,
    padding: int,
    skip: int = 0,
    heard: Heard | None = None,
    leave: Callable[[], bool] | None = None,
) -> list[tuple[float, bool]]:
    """Sum the log-probabilities of continuations' tokens, in float32.

    Args:
        crowd: The particles on the resident model.
        particles: The particle of every continuation.
        continuations: Token ids with their prompts'.
        slots: Rows of one forward pass at most; with fewer slots than particles, one row of each.
        padding: Id that fills short rows.
        skip: Tokens at the beginning of all rows that are the crowd's prefix and are not fed; 0 for none.
        heard: Told after every pass how many continuations were summed up, and how many tokens were read for them.
        leave: Asked before every pass whether to end now.

    Returns:
        For every continuation its natural logarithm, and whether each of its tokens is the likeliest at its place; NaN
        for one that was left before it was summed up.
    """
    shortest = skip + SHORTEST_PREFIX if crowd.can_share else None
    rows = rows_of(particles, continuations, shortest)
    reader = Reader(crowd, continuations, padding, heard, leave)
    reader.read_all(rows, skip, slots)
    return list(zip(reader.sums.tolist(), (reader.surprises == 0).tolist(), strict=True))


def rows_of(particles: Sequence[int], continuations: Sequence[Continuation], shortest: int | None) -> list[Row]:
    """Put continuations into as few rows as there are different tokens to feed; the last token of each never is.

    Args:
        particles: The particle of every continuation.
        continuations: Token ids with their prompts'.
        shortest: From so many tokens on a prompt with several continuations gets a row of its own, behind which they
            are read; None for never.

    Returns:
        The rows, with tails where a prompt has a row of its own.

    >>> choices = [Continuation((5, 6, 7, 1), 2), Continuation((5, 6, 8, 1), 2), Continuation((5, 6, 8), 2)]
    >>> [row.ids for row in rows_of([0, 0, 0], choices, None)]
    [(5, 6, 7), (5, 6, 8), (5, 6)]
    >>> [(row.ids, [tail.ids for tail in row.tails]) for row in rows_of([0, 0, 0], choices, 2)]
    [((5, 6), [(5, 6, 7), (5, 6, 8)])]
    """
    fed: dict[tuple[int, tuple[int, ...]], dict[tuple[int, ...], list[int]]] = {}
    for number, (particle, one) in enumerate(zip(particles, continuations, strict=True)):
        prompt = one.ids[: one.split]
        alone = shortest is None or len(prompt) < shortest
        fed.setdefault((particle, () if alone else prompt), {}).setdefault(one.ids[:-1], []).append(number)
    rows = []
    for (particle, prompt), members in fed.items():
        if prompt and len(members) > 1:
            rows.append(_with_tails(particle, prompt, members))
            continue
        for ids, numbers in members.items():
            rows.append(Row(particle, ids))
            for number in numbers:
                rows[-1].read(range(continuations[number].split, len(ids) + 1), number)
    return rows


def _with_tails(particle: int, prompt: tuple[int, ...], members: dict[tuple[int, ...], list[int]]) -> Row:
    row = Row(particle, prompt)
    for ids, numbers in members.items():
        for number in numbers:
            row.read(range(len(prompt), len(prompt) + 1), number)
        if len(ids) > len(prompt):
            row.tails.append(Row(particle, ids))
            for number in numbers:
                row.tails[-1].read(range(len(prompt) + 1, len(ids) + 1), number)
    return row


def _settled_in(row: Row) -> set[int]:
    """Return the continuations that are summed up when a row is read: all of its own but those that its tails read."""
    later = {number for tail in row.tails for numbers in tail.reads.values() for number in numbers}
    return {number for numbers in row.reads.values() for number in numbers} - later


def _batches(rows: Sequence[Row], slots: int) -> Iterator[dict[int, list[int]]]:
    """Give the places of rows that share a pass, by particle."""
    queues = queues_of([row.particle for row in rows], [len(row.ids) for row in rows])
    while any(queues.values()):
        waiting = [particle for particle, queue in queues.items() if queue]
        height = max(1, slots // len(waiting))
        yield {
            particle: [queues[particle].popleft() for _ in range(min(height, len(queues[particle])))]
            for particle in waiting
        }


class Reader:
    """Reads rows batch by batch, and sums up what continuations find there.

    Attributes:
        sums: Of the log-probabilities of every continuation's tokens.
        surprises: How many of them are not the likeliest at their place.
    """

    def __init__(
        self,
        crowd: Crowd,
        continuations: Sequence[Continuation],
        padding: int,
        heard: Heard | None = None,
        leave: Callable[[], bool] | None = None,
    ) -> None:
        """Begin with nothing read; see `loglikelihoods`."""
        self.sums = torch.zeros(len(continuations), dtype=torch.float64)
        self.surprises = torch.zeros(len(continuations), dtype=torch.long)
        self._crowd, self._continuations, self._padding, self._heard = crowd, continuations, padding, heard
        self._leave = leave
        self._settled: set[int] = set()  # continuations that are summed up

    def read_all(self, rows: Sequence[Row], skip: int, slots: int) -> None:
        """Read all rows and their tails, or as many as there is time for.

        Args:
            rows: What `rows_of` returned.
            skip: Tokens of the crowd's prefix.
            slots: Rows of a pass at most.
        """
        for picked in _batches(rows, slots):
            if self._is_left():
                break
            self._read(rows, picked, skip, slots)
        if self._is_left():
            left = set(range(len(self.sums))) - self._settled
            self.sums[list(left)] = torch.nan

    def _is_left(self) -> bool:
        return self._leave is not None and self._leave()

    def take(self, logits: Tensor, found: Sequence[tuple[Row, int, Sequence[int]]]) -> None:
        """Add what some places say to the sums.

        Args:
            logits: Of the next token at every place [w, vocabulary].
            found: For every place its row, the place of the token that it predicts, and the continuations that it
                stands in.
        """
        heard = [
            (index, self._continuations[number].ids[token], number)
            for index, (_, token, numbers) in enumerate(found)
            for number in numbers
        ]
        index, tokens, of = torch.tensor(heard).unbind(dim=1)
        index, tokens = index.to(logits.device), tokens.to(logits.device)
        logarithms = logits[index, tokens].float() - log_sum_exp(logits)[index]
        self.sums.index_add_(0, of, logarithms.cpu().double())
        self.surprises.index_add_(0, of, (logits.argmax(dim=-1)[index] != tokens).long().cpu())

    def _read(self, rows: Sequence[Row], picked: dict[int, list[int]], skip: int, slots: int) -> None:
        """Read some rows and then their tails.

        Args:
            rows: All rows.
            picked: Places of those to read, by particle.
            skip: Tokens of the crowd's prefix.
            slots: Rows of a pass at most.
        """
        from swarm_lightning.evaluation.engine.pass_cache import Before, PassCache  # imports transformers

        crowd = self._crowd
        batch = lay_out(picked, [row.ids for row in rows], skip, self._padding, crowd.device)
        with_tails = [row for row, place in enumerate(batch.rows) if place is not None and rows[place].tails]
        keep = torch.tensor(with_tails, device=crowd.device) if with_tails else None
        prefixes = crowd.prefixes(batch.particles) if skip else None

        def prefix_of(some: Batch) -> list[Before]:
            if prefixes is None:
                return []
            height = len(some.rows) // len(some.particles)
            index = [batch.particles.index(particle) for particle in some.particles for _ in range(height)]
            return [Before(prefixes, torch.tensor(index, device=crowd.device))]

        cache = PassCache(prefix_of(batch), keep) if skip or with_tails else None
        mask = torch.cat([batch.mask.new_ones(len(batch.rows), skip), batch.mask], dim=1)
        self._add(rows, batch, mask, cache)
        if cache is None or keep is None:
            return
        parents = [rows[place] for place in (batch.rows[row] for row in with_tails) if place is not None]
        tails = [(tail, parent) for parent, row in enumerate(parents) for tail in row.tails]
        masks, prompts = mask[keep], cache.kept()
        for some in _batches([tail for tail, _ in tails], slots):
            if self._is_left():
                return
            part = lay_out(
                some,
                [tail.ids for tail, _ in tails],
                [len(parents[parent].ids) for _, parent in tails],
                self._padding,
                crowd.device,
            )
            # A row that only fills the batch up stands behind any prompt.
            parent_of = torch.tensor(
                [0 if place is None else tails[place][1] for place in part.rows], device=crowd.device
            )
            behind = PassCache([*prefix_of(part), Before(prompts, parent_of)])
            self._add([tail for tail, _ in tails], part, torch.cat([masks[parent_of], part.mask], dim=1), behind)

    def _add(self, rows: Sequence[Row], batch: Batch, mask: Tensor, cache: "PassCache | None") -> None:
        """Run a batch, and take in what it says."""
        # A place of the batch is wanted once, by whoever reads a token there.
        width = batch.tokens.shape[1]
        readers: dict[tuple[int, int], tuple[Row, int, Sequence[int]]] = {}
        for place, picked in enumerate(batch.rows):
            if picked is None:
                continue
            row = rows[picked]
            for token, numbers in row.reads.items():
                readers[place, width - len(row.ids) + token - 1] = (row, token, numbers)
        places = Places([place for place, _ in readers], [column for _, column in readers])
        read = list(readers.values())
        for wanted, logits in self._crowd.logits_at(
            places, batch.particles, batch.tokens, mask, batch.positions, cache
        ):
            self.take(logits, [read[place] for place in wanted.tolist()])
            del logits  # before the next ones are made
        if self._heard is not None or self._leave is not None:
            real = [place for place, picked in enumerate(batch.rows) if picked is not None]
            settled = [number for picked in batch.rows if picked is not None for number in _settled_in(rows[picked])]
            self._settled.update(settled)
            if self._heard is not None:
                self._heard(len(settled), int(batch.mask[real].sum()))


def log_sum_exp(logits: Tensor) -> Tensor:
    """Return the logarithm of the sum of exponentials [W] of logits [W, V], in float32, few rows at a time.

    >>> log_sum_exp(torch.tensor([[0.0, 0.0]]))
    tensor([0.6931])
    """
    rows = max(CHUNK_BYTES // (4 * logits.shape[-1]), 1)
    return torch.cat([part.float().logsumexp(dim=-1) for part in logits.split(rows)])
