"""Replies of mixtures of experts whose tokens differ: at every step the experts' likeliest tokens are matched as bytes.

A step has three parts. Every expert names its 10 likeliest next tokens, and all of them, as bytes, are the candidates.
Every expert scores every candidate: by the probability of its own token with these bytes, or where it has none, of the
first of its tokens that spell them, the longest first. The mixture of these scores decides, its winner is appended, and
every expert reads on in tokens of its own: what it has read is never cut anew, so that keys and values stay.

Approximate are, by that: tokens beyond the 10 likeliest of all experts are no candidates; a candidate that an expert
has to spell counts as its first piece, which is more than it deserves; and scores are not summed over other ways to
spell the same bytes. Experts of one vocabulary get what they get token by token, as long as the winner is among the
candidates. Why this way and not byte by byte: the exact probability of a next byte sums over all tokens that begin with
it, and goes on through every way to cut the text, at several passes a byte; this needs one pass a token and expert.

Source: UniTE, arXiv:2410.03777, section 3, which takes the same union of the top 10; there a candidate is spelled by
the expert's tokenizer, and scores are normalised over the candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.generation import NO_TOKEN, TokenDecoding, TokenReplies, most_likely
from swarm_lightning.evaluation.engine.tokens import padding_id
from swarm_lightning.evaluation.mixtures.mixture import Averaged, mix_logarithms
from swarm_lightning.evaluation.mixtures.model_groups import ModelGroup, Shelf
from swarm_lightning.evaluation.mixtures.shared_generation import batches_of, end_step
from swarm_lightning.evaluation.reading import Reading
from swarm_lightning.experts.tokenizers.vocabularies import token_bytes

TOP = 10  # likeliest tokens of every expert that are candidates
END = 0  # in a vocabulary of texts
LOWEST = -1e4  # the logarithm of what an expert can't spell, which it never says


class TextVocabulary:
    """Ids for pieces of text as they come up, in the place of a tokenizer; the end of a text has the first.

    Attributes:
        unk_token_id: None: it knows all bytes.
    """

    unk_token_id = None

    def __init__(self) -> None:
        """Begin with the end of a text only."""
        self._pieces: list[bytes] = [b""]
        self._ids: dict[bytes, int] = {b"": END}

    def id_of(self, piece: bytes) -> int:
        """Return the id of some bytes; those of the end are none."""
        if piece not in self._ids:
            self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return self._ids[piece]

    def convert_tokens_to_ids(self, token: str) -> None:
        """Return None: none of its ids stands for a token of a name."""

    def batch_decode(self, replies: Sequence[Sequence[int]], skip_special_tokens: bool = True) -> list[str]:
        """Return texts."""
        return [b"".join(self._pieces[index] for index in reply).decode("utf-8", "replace") for reply in replies]


class Speller:
    """Bytes as the tokens of one model.

    Attributes:
        pieces: The bytes of every token; None for those that are no text.
        ends: Ids that end a text.
    """

    def __init__(self, group: ModelGroup) -> None:
        """Read the vocabulary.

        Args:
            group: The model.

        Raises:
            InputError: If its tokens can't be told by what they add to a text.
        """
        self.pieces = token_bytes(group.tokenizer, group.name)[: group.size]
        self.ends = sorted(group.ends)
        # Of two tokens with the same bytes the later: single bytes, for what is not known, come first.
        self._ids = {piece: index for index, piece in enumerate(self.pieces) if piece and index not in group.ends}
        self._longest = max(map(len, self._ids))
        self._known: dict[bytes, tuple[int, ...]] = {}
        unknown = group.tokenizer.unk_token_id
        self._unknown = int(unknown) if unknown is not None and unknown < group.size else padding_id(group.tokenizer)

    def spell(self, piece: bytes) -> tuple[int, ...]:
        """Return the token with some bytes, or those that spell them, the longest first; none where that can't be."""
        if piece not in self._known:
            ids, start = [], 0
            while start < len(piece):
                for stop in range(min(len(piece), start + self._longest), start, -1):
                    if (index := self._ids.get(piece[start:stop])) is not None:
                        ids.append(index)
                        start = stop
                        break
                else:
                    ids = []
                    break
            self._known[piece] = tuple(ids)
        return self._known[piece]

    def read_as(self, piece: bytes) -> tuple[int, ...]:
        """Return what the model reads for some bytes: where it can't spell them, the token for what is not known."""
        return self.spell(piece) or (self._unknown,)


@dataclass(frozen=True)
class MixedTexts:
    """How experts are mixed.

    Attributes:
        shelf: The models.
        averaged: What is averaged.
        spellers: One for each model.
        vocabulary: Of replies.
    """

    shelf: Shelf
    averaged: Averaged
    spellers: Sequence[Speller]
    vocabulary: TextVocabulary


@torch.inference_mode()
def generate_texts(
    mixed: MixedTexts, prompts: Sequence[Sequence[Sequence[int]]], weights: Tensor, slots: int, decoding: TokenDecoding
) -> TokenReplies:
    """Choose pieces of text after prompts.

    Args:
        mixed: The experts.
        prompts: For every row, the token ids of its prompt by each model.
        weights: Of the experts in every row [R, n].
        slots: Texts that share a pass at most, but for branches.
        decoding: Length in pieces, ends and choice.

    Returns:
        For every row the ids of pieces in the vocabulary of texts, up to the end or to the one after which it was over.
    """
    replies = TokenReplies([[] for _ in prompts])
    for rows in batches_of([tuple(row[0]) for row in prompts], slots):
        _generate(mixed, rows, prompts, weights, decoding, replies)
    return replies


def _generate(
    mixed: MixedTexts,
    rows: list[int],
    prompts: Sequence[Sequence[Sequence[int]]],
    weights: Tensor,
    decoding: TokenDecoding,
    replies: TokenReplies,
) -> None:
    shelf = mixed.shelf
    readings = [Reading(len(group.places), padding_id(group.tokenizer)) for group in shelf.groups]
    keys = [tuple(map(tuple, prompts[row])) for row in rows]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    text_of = [numbers[key] for key in keys]
    parents = list(range(len(numbers)))
    new = [[list(key[model]) for key in numbers] for model in range(len(shelf.groups))]
    running, done = list(rows), set[int]()
    while True:
        said = []
        for group, reading, more in zip(shelf.groups, readings, new, strict=True):
            read = reading.tokens
            said.append(reading.read(shelf.crowd(group), parents, more).float().log_softmax(dim=-1).cpu())
            if decoding.heard is not None:
                decoding.heard(0, reading.tokens - read)
        tables = {text: _candidates(mixed, [one[:, text] for one in said]) for text in set(text_of)}
        chosen, pieces = [], []
        for row, text in zip(running, text_of, strict=True):
            candidates, scores = tables[text]
            place = _choose(scores, weights[row], mixed.averaged, row, decoding, len(replies.tokens[row]))
            pieces.append(b"" if place == NO_TOKEN else candidates[place])
            chosen.append(NO_TOKEN if place == NO_TOKEN else mixed.vocabulary.id_of(candidates[place]))
        alive = end_step(running, chosen, done, decoding, replies)
        if not alive:
            return
        branches: dict[tuple[int, bytes], int] = {}
        text_of = [branches.setdefault((text_of[place], pieces[place]), len(branches)) for place in alive]
        parents = [text for text, _ in branches]
        new = [[list(speller.read_as(piece)) for _, piece in branches] for speller in mixed.spellers]
        running = [running[place] for place in alive]
        for group, reading, more in zip(shelf.groups, readings, new, strict=True):
            _check_room(group, [len(reading.texts[text]) + len(ids) for text, ids in zip(parents, more, strict=True)])


def _candidates(mixed: MixedTexts, said: Sequence[Tensor]) -> tuple[list[bytes], Tensor]:
    """Gather the experts' likeliest tokens behind one text, and score them.

    Args:
        mixed: The experts.
        said: Of every model, its experts' log-probabilities of the next token [P, V].

    Returns:
        The candidates as bytes, sorted, the end of the text first, and every expert's score of each [n, K].
    """
    found = set[bytes]()
    for logarithms, speller in zip(said, mixed.spellers, strict=True):
        for index in logarithms.topk(min(TOP, logarithms.shape[1]), dim=1).indices.unique().tolist():
            if index < len(speller.pieces) and (piece := speller.pieces[index]):
                found.add(piece)
    candidates = [b"", *sorted(found)]
    scores = torch.empty(mixed.shelf.count, len(candidates))
    for group, logarithms, speller in zip(mixed.shelf.groups, said, mixed.spellers, strict=True):
        spelled = [speller.spell(piece)[:1] for piece in candidates[1:]]
        known = torch.tensor([bool(ids) for ids in spelled], dtype=torch.bool)
        first = torch.tensor([ids[0] if ids else 0 for ids in spelled], dtype=torch.long)
        places = list(group.places)
        scores[places, 1:] = logarithms[:, first].where(known, LOWEST)
        scores[places, 0] = logarithms[:, speller.ends].logsumexp(dim=1) if speller.ends else LOWEST
    return candidates, scores


def _choose(scores: Tensor, weights: Tensor, averaged: Averaged, row: int, decoding: TokenDecoding, length: int) -> int:
    """Choose a candidate for one row; -1 where an expert gives no numbers."""
    found = mix_logarithms(scores[:, None], weights[None], averaged)
    likely = int(most_likely(found))
    if decoding.choose is None or likely == NO_TOKEN:
        return likely
    return int(decoding.choose(found, [row], [length]))


def _check_room(group: ModelGroup, lengths: Sequence[int]) -> None:
    if group.positions is not None and max(lengths) > group.positions:
        raise InputError(
            f"Expected texts of {group.positions} tokens at most, the positions of {group.name!r}, but a prompt with "
            f"its reply has {max(lengths)}: what is one token of another model can be several of this one. Lower "
            "max_new_tokens, shorten the prompts, or leave the model out."
        )
