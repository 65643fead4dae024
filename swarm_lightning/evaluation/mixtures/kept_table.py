"""What the experts of a token swarm say of given texts, asked once and kept: any mixture is computed from it.

For experts of one vocabulary. A mixture needs of every expert the log-probabilities of the texts' tokens, whatever its
weights are: the first particle that is asked an example pays for all, and no other costs a forward pass.

A mean of probabilities needs these numbers, and to tell whether a token is the likeliest, those of tokens that no other
token is ahead of with all experts: no mean can make another one the likeliest. A weighted sum of log-probabilities is
normalised over all tokens, so it needs them all. Where memory does not hold them for all texts, the earliest are
forgotten and asked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from swarm_lightning.evaluation.engine.crowd import SHORTEST_PREFIX, Crowd
from swarm_lightning.evaluation.engine.likelihood import Reader, Row, rows_of
from swarm_lightning.evaluation.engine.memory import free_bytes
from swarm_lightning.evaluation.engine.text_rows import Sums, Tables
from swarm_lightning.evaluation.engine.tokens import Continuation, padding_id
from swarm_lightning.evaluation.mixtures.mixture import Averaged, mix_logarithms
from swarm_lightning.evaluation.mixtures.model_groups import ModelGroup, Shelf

SHARE = 0.25  # of the free memory for what is kept, and for distributions that are looked at together
LEAST_BYTES = 1 << 28
PIECE_BYTES = 1 << 25  # of numbers that are mixed together

# Whose distribution: the tokens before a place.
Place = tuple[int, ...]


@dataclass(frozen=True)
class Said:
    """What the experts say of one continuation of T tokens.

    Attributes:
        tokens: Log-probabilities of its tokens [n, T].
        others: Of the tokens that may be likelier at each place [n, K] each; of all tokens where sums are normalised.
        ids: For the latter, the tokens' ids.
    """

    tokens: Tensor
    others: tuple[Tensor, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Spoken:
    """What the experts say of several continuations, one behind the other.

    Attributes:
        tokens: Log-probabilities of all tokens [n, sum of T].
        lengths: T of every continuation.
        of_each: The same of each.
    """

    tokens: Tensor
    lengths: Tensor
    of_each: Sequence[Said]

    @classmethod
    def of(cls, said: Sequence[Said]) -> "Spoken":
        """Put what is said of continuations, one or more, behind each other."""
        tokens = torch.cat([one.tokens for one in said], dim=1)
        return cls(tokens, torch.tensor([len(one.ids) for one in said]), said)


@dataclass
class Wanted:
    """Continuations, all different, that may be asked of other mixtures again.

    Attributes:
        continuations: C of them.
        said: What the experts say of all of them, part by part; nothing before that is known, or where it is forgotten.
    """

    continuations: list[Continuation]
    said: list[Spoken] = field(default_factory=list)


class _Places(Reader):
    """Reads whole distributions at places of continuations."""

    def __init__(self, crowd: Crowd, group: ModelGroup, continuations: Sequence[Continuation], vocabulary: int) -> None:
        self._group, self._vocabulary = group, vocabulary
        self.found: dict[tuple[int, Place], Tensor] = {}
        count = len(group.places)
        super().__init__(crowd, list(continuations) * count, padding_id(group.tokenizer))
        self._owners = [particle for particle in range(count) for _ in continuations]

    def finish(self, slots: int) -> None:
        """Read everything."""
        shortest = SHORTEST_PREFIX if self._crowd.can_share else None
        self.read_all(rows_of(self._owners, self._continuations, shortest), 0, slots)

    def take(self, logits: Tensor, found: Sequence[tuple[Row, int, Sequence[int]]]) -> None:
        """Keep the logarithms of every place."""
        logarithms = logits.float().log_softmax(dim=-1)[:, : self._vocabulary].cpu()
        for values, (row, token, numbers) in zip(logarithms, found, strict=True):
            place = self._continuations[numbers[0]].ids[:token]
            self.found[self._group.places[row.particle], place] = values


class KeptTable:
    """Likelihoods under any mixtures of the experts.

    Attributes:
        kept: What is known of continuations.
    """

    def __init__(self, shelf: Shelf, averaged: Averaged, vocabulary: int) -> None:
        """Begin with nothing known.

        Args:
            shelf: The models.
            averaged: What is averaged.
            vocabulary: Number of tokens that all models have.
        """
        self._shelf, self._averaged, self._vocabulary = shelf, averaged, vocabulary
        self.kept: dict[Continuation, Said] = {}
        self._bytes = 0

    def loglikelihoods(
        self, weights: Tensor, owners: Sequence[int], continuations: Sequence[Sequence[Continuation]]
    ) -> Sums:
        """Sum the log-probabilities that mixtures give to continuations' tokens.

        Args:
            weights: Of the experts in every mixture [P, n].
            owners: The mixture of every row.
            continuations: Those of every row; rows that ask the same hold the same list.

        Returns:
            The sums, row by row.
        """
        rows = {id(row): row for row in continuations}
        wanted = list(dict.fromkeys(one for row in rows.values() for one in row))
        found = self.tables(weights, Wanted(wanted))
        # Of every continuation of every row its mixture, and its place among all that are wanted.
        columns = {one: number for number, one in enumerate(wanted)}
        own = {key: [columns[one] for one in row] for key, row in rows.items()}
        mixtures = torch.tensor(owners, dtype=torch.long).repeat_interleave(torch.tensor(list(map(len, continuations))))
        places = torch.tensor([column for row in continuations for column in own[id(row)]], dtype=torch.long)
        return Sums(found.logarithms[mixtures, places], lambda: found.greedy()[mixtures, places])

    def tables(self, weights: Tensor, wanted: Wanted) -> Tables:
        """Sum the log-probabilities that each of some mixtures gives to each of some continuations' tokens.

        Args:
            weights: Of the experts in every mixture [P, n].
            wanted: C continuations.
        """
        if wanted.said:
            return _beside([self._averaged_over(weights, part) for part in wanted.said])
        none = torch.zeros(len(weights), 0)
        tables, spoken = [Tables(none.double(), none.bool)], []
        for some in self._parts(wanted.continuations):
            self._ask([one for one in some if one not in self.kept])
            said = [self.kept[one] for one in some]
            if self._averaged == "logits":
                tables.append(self._summed(weights, said))
            else:  # all of it is kept for good
                spoken.append(Spoken.of(said))
                tables.append(self._averaged_over(weights, spoken[-1]))
            self._forget(len(some))
        wanted.said = spoken  # only now: what was broken off is asked anew
        return _beside(tables)

    def _averaged_over(self, weights: Tensor, said: Spoken) -> Tables:
        """Mix probabilities."""
        tokens, lengths = self._mixed(said.tokens, weights), said.lengths
        sums = _segments(tokens, lengths, "sum")

        def greedy() -> Tensor:
            rivals = [other for one in said.of_each for other in one.others]
            sizes = torch.tensor([other.shape[1] for other in rivals])
            best = _segments(self._mixed(torch.cat(rivals, dim=1), weights), sizes, "max")
            return _segments((tokens < best).double(), lengths, "sum") == 0

        return Tables(sums.where(sums.isfinite(), torch.nan), greedy)

    def _mixed(self, logarithms: Tensor, weights: Tensor) -> Tensor:
        """Mix the numbers of tokens [n, K] by all weights [P, n]: [P, K] float64, some mixtures at a time."""
        size = 8 * len(logarithms) * max(logarithms.shape[1], 1)
        parts = weights.split(max(PIECE_BYTES // size, 1))
        wide = logarithms.double()[:, None]
        return torch.cat([mix_logarithms(wide.expand(-1, len(some), -1), some, self._averaged) for some in parts])

    def _summed(self, weights: Tensor, said: Sequence[Said]) -> Tables:
        """Mix log-probabilities over all tokens."""
        known: dict[int, Tensor] = {}  # continuations of one prompt share their first place
        sums = torch.zeros(len(weights), len(said), dtype=torch.float64)
        greedy = torch.ones(len(weights), len(said), dtype=torch.bool)
        for number, one in enumerate(said):
            for whole, token in zip(one.others, one.ids, strict=True):
                if id(whole) not in known:
                    if len(known) * whole[0].nbytes * len(weights) > PIECE_BYTES:
                        known.clear()
                    known[id(whole)] = self._mixed(whole, weights)
                mixed = known[id(whole)]
                sums[:, number] += mixed[:, token]
                greedy[:, number] &= mixed.argmax(dim=1) == token
        return Tables(sums.where(sums.isfinite(), torch.nan), lambda: greedy)

    def _parts(self, continuations: list[Continuation]) -> list[list[Continuation]]:
        """Cut continuations so that the distributions at their places fit into memory."""
        if all(one in self.kept for one in continuations):
            return [continuations] if continuations else []
        fitting = max(LEAST_BYTES, SHARE * free_bytes(torch.device("cpu")))
        parts: list[list[Continuation]] = [[]]
        size = 0.0
        for one in continuations:
            needed = 4.0 * self._shelf.count * self._vocabulary * (len(one.ids) - one.split)
            if one not in self.kept and size + needed > fitting and parts[-1]:
                parts.append([])
                size = 0.0
            size += 0 if one in self.kept else needed
            parts[-1].append(one)
        return parts

    def _ask(self, continuations: Sequence[Continuation]) -> None:
        """Ask every expert once what is not known."""
        if not continuations:
            return
        found: dict[Place, Tensor] = {}
        longest = max(len(one.ids) for one in continuations)
        for group in self._shelf.groups:
            engine, crowd = self._shelf.engine(group), self._shelf.crowd(group)

            def work(
                slots: int, _: int, group: ModelGroup = group, crowd: Crowd = crowd
            ) -> dict[tuple[int, Place], Tensor]:
                reader = _Places(crowd, group, continuations, self._vocabulary)
                reader.finish(slots)
                return reader.found

            for (expert, place), values in engine.run(work, longest).items():
                if place not in found:
                    found[place] = torch.full((self._shelf.count, self._vocabulary), torch.nan)
                found[place][expert] = values
        rivals = {} if self._averaged == "logits" else {place: undominated(whole) for place, whole in found.items()}
        for one in continuations:
            places = [one.ids[:token] for token in range(one.split, len(one.ids))]
            ids = one.ids[one.split :]
            tokens = torch.stack([found[place][:, token] for place, token in zip(places, ids, strict=True)], dim=1)
            others = tuple((rivals or found)[place] for place in places)
            self.kept[one] = Said(tokens, others, ids)
        self._bytes += sum(whole.nbytes for whole in (rivals or found).values())

    def _forget(self, present: int) -> None:
        """Forget the continuations that were asked first, but for the present ones, where they take too much memory."""
        if self._averaged != "logits" or self._bytes <= LEAST_BYTES or len(self.kept) <= present:
            return
        if self._bytes > SHARE * free_bytes(torch.device("cpu")):
            for one in list(self.kept)[:-present]:
                del self.kept[one]
            self._bytes = sum({id(other): other.nbytes for one in self.kept.values() for other in one.others}.values())


def undominated(logarithms: Tensor) -> Tensor:
    """Return the numbers of those tokens that can be the likeliest of a mean of the experts' probabilities.

    Left out are tokens that are no likelier than another one with any expert; that one is among the best of some
    expert.

    Args:
        logarithms: Log-probabilities of all tokens [n, V].

    Returns:
        Those of some of them [n, K].

    >>> undominated(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]).log()).exp()
    tensor([[0.5000, 0.3000],
            [0.1000, 0.8000]])
    """
    best = torch.cat([logarithms.argmax(dim=1), logarithms.exp().mean(dim=0).argmax()[None]]).unique()
    kept = torch.ones(logarithms.shape[1], dtype=torch.bool)
    for token in best.tolist():
        kept &= (logarithms > logarithms[:, token : token + 1]).any(dim=0)
    kept[best] = True
    return logarithms[:, kept]


def _beside(tables: Sequence[Tables]) -> Tables:
    """Join tables of the same mixtures."""
    if len(tables) == 1:
        return tables[0]
    logarithms = torch.cat([table.logarithms for table in tables], dim=1)
    return Tables(logarithms, lambda: torch.cat([table.greedy() for table in tables], dim=1))


def _segments(values: Tensor, lengths: Tensor, reduce: str) -> Tensor:
    """Reduce neighbouring columns [P, sum of lengths] to [P, segments]."""
    return torch.segment_reduce(values.T.contiguous(), reduce, lengths=lengths, axis=0).T
