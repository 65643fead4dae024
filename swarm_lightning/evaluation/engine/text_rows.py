"""Rows of text on a model of tokens: what objectives talk to, whoever answers the rows.

Here are the tokenizer, the room for a reply, stop strings, early ends of replies, the noise of sampled ones, and notes
of what broke. How rows of token ids run, by single particles or by mixtures, is the business of a `TokenModel`.
"""

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.generation import TokenDecoding, TokenReplies
from swarm_lightning.evaluation.engine.row_stops import StopCheck, cut
from swarm_lightning.evaluation.engine.tokens import Continuation, end_of_text_ids, padding_id
from swarm_lightning.evaluation.lengths import check_lengths
from swarm_lightning.evaluation.sampling import RowNoise, Sampler
from swarm_lightning.evaluation.told_rows import LeftOff, Said
from swarm_lightning.objectives.likelihoods import Likelihoods, places_of_runs
from swarm_lightning.objectives.protocol import GenerationSettings, RowDecided

AnyRows = TypeVar("AnyRows", bound="OwnedRows")
# Given some rows of a call, how many share a forward pass and how many tokens are not fed, says how they are decoded.
DecodingOf = Callable[[Sequence[int], int, int], TokenDecoding]


@dataclass(frozen=True)
class PromptRows:
    """The rows of one call.

    Attributes:
        owners: The candidate of every row.
        texts: The prompt of every row.
        add_special_tokens: Whether the tokenizer adds its special tokens to prompts.
        leave: Asked between passes whether to end now, with rows unanswered; None where all must be answered.
    """

    owners: tuple[int, ...]
    texts: Sequence[str]
    add_special_tokens: bool
    leave: Callable[[], bool] | None = None


class Sums(NamedTuple):
    """What a model makes of F continuations.

    Attributes:
        logarithms: Of their probabilities [F] float64; NaN where the model gave no finite number.
        greedy: Returns whether each token of them is the likeliest at its place [F] bool.
    """

    logarithms: Tensor
    greedy: Callable[[], Tensor]

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, bool]]) -> "Sums":
        """Take a logarithm and whether it is greedy, for every continuation."""
        logarithms = torch.tensor([logarithm for logarithm, _ in pairs], dtype=torch.float64)
        greedy = torch.tensor([greedy for _, greedy in pairs], dtype=torch.bool)
        return cls(logarithms, lambda: greedy)


class Tables(NamedTuple):
    """What P candidates make of the same C continuations; see `Sums`.

    Attributes:
        logarithms: [P, C] float64.
        greedy: Returns [P, C] bool.
    """

    logarithms: Tensor
    greedy: Callable[[], Tensor]


@dataclass(frozen=True)
class Form:
    """Rows of likelihoods without the numbers.

    Attributes:
        counts: How many continuations every row has [R].
        places: The place of each of them in a table [F].
        tokens: How many each has [F].
        characters: How many each has [F].
    """

    counts: Tensor
    places: Tensor
    tokens: Tensor
    characters: Tensor

    def of(self, tables: Tables) -> Likelihoods:
        """Return the rows under each of P candidates, one candidate behind the other.

        Args:
            tables: What the candidates make of all continuations.
        """
        times = len(tables.logarithms)
        return Likelihoods(
            self.counts.repeat(times),
            tables.logarithms[:, self.places].flatten(),
            self.tokens.repeat(times),
            self.characters.repeat(times),
            lambda: tables.greedy()[:, self.places].flatten(),
        )


class TokenModel(Protocol):
    """Candidates as a model of token ids, row by row."""

    def generate(
        self, prompts: PromptRows, tokens: Sequence[Sequence[int]], limit: int, decoding: DecodingOf
    ) -> TokenReplies:
        """Choose tokens after prompts.

        Args:
            prompts: The rows.
            tokens: Token ids of every row's prompt.
            limit: The most new tokens of a reply.
            decoding: Says how some of the rows are decoded.

        Returns:
            New tokens and what is known of them, by the rows' order.
        """
        ...

    def loglikelihoods(self, prompts: PromptRows, continuations: Sequence[Sequence[Continuation]]) -> "Sums":
        """Sum the log-probabilities of the continuations of every row.

        Args:
            prompts: The rows.
            continuations: Those of every row; rows that ask the same hold the same list.

        Returns:
            The sums, row by row.
        """
        ...


class OwnedRows:
    """Rows that each belong to a candidate and an example, whoever answers them.

    Attributes:
        tokenizer: The base model's.
        device: Where the base model computes.
        owners: The candidate of every row.
        broken: Rows for which the model gave NaN or infinity.
    """

    def __init__(
        self, engine: Engine, owners: Sequence[int], whole_replies: bool, noise: RowNoise | None, turns: int = 0
    ) -> None:
        """Say which candidate answers which row; see `TextRows`."""
        self.tokenizer = engine.tokenizer
        self.device = engine.adapted.model.device
        self.owners = tuple(owners)
        self.broken: set[int] = set()
        self._engine = engine
        self._rows = tuple(range(len(owners)))
        self._row_stops = engine.settings.row_stops and not whole_replies
        self._noise = noise
        self._turns = turns
        self._leave: Callable[[], bool] | None = None

    def select(self: AnyRows, places: Sequence[int]) -> AnyRows:
        """Return the same candidates for some of the rows; see `LanguageModel.select`.

        What breaks there is noted here, by this model's row.
        """
        selected = copy.copy(self)
        selected._rows = tuple(self._rows[place] for place in places)
        selected.owners = tuple(self.owners[place] for place in places)
        selected._noise = None if self._noise is None else self._noise.select(places)
        return selected

    def _prompt_rows(self, prompts: Sequence[str], add_special_tokens: bool) -> PromptRows:
        if len(prompts) != len(self.owners):
            raise InputError(
                f"Expected one prompt for each of the {len(self.owners)} examples of the call, but the objective "
                f"gave {len(prompts)}. Prompt i must be that of example i."
            )
        return PromptRows(self.owners, prompts, add_special_tokens, self._leave)

    def _keys(self) -> Tensor:
        """Return the streams of random numbers for the next turn [rows]."""
        if self._noise is None or len(self._noise.particles) != len(self.owners):
            raise ValueError(
                f"Expected noise for each of {len(self.owners)} rows where replies are sampled, but got "
                f"{'none' if self._noise is None else len(self._noise.particles)}."
            )
        return self._noise.keys(self._turns)


class TextRows(OwnedRows):
    """Candidates as a language model, row by row; follows the protocol `Rows`."""

    def __init__(
        self,
        engine: Engine,
        model: TokenModel,
        owners: Sequence[int],
        whole_replies: bool = False,
        noise: RowNoise | None = None,
        turns: int = 0,
    ) -> None:
        """Say which candidate answers which row.

        Args:
            engine: The resident model, with its tokenizer.
            model: Runs rows of token ids.
            owners: The candidate of every row.
            whole_replies: Whether replies go on when their score is settled.
            noise: Where replies are sampled, what seeds the draws of every row.
            turns: How often they have replied before, in the same evaluation of the same examples.
        """
        super().__init__(engine, owners, whole_replies, noise, turns)
        self._model = model
        self._said: list[Said] = []

    def may_leave(self, leave: Callable[[], bool]) -> None:
        """Let calls end between two passes; see `LeavesCalls`."""
        self._leave = leave

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        """Reply to every prompt; see `LanguageModel.generate`."""
        rows, model = self._prompt_rows(prompts, add_special_tokens), self._engine.adapted.model
        sequences = self._engine.encode(prompts, add_special_tokens)
        check_lengths(model, sequences, prompts, room=settings.max_new_tokens)
        check = StopCheck(self.tokenizer, settings.stop, decided if self._row_stops else None)
        ends, padding = frozenset(end_of_text_ids(model, self.tokenizer)), padding_id(self.tokenizer)
        keys = self._keys() if settings.sampled else None
        self._turns += 1

        def decoding(places: Sequence[int], slots: int, skip: int) -> TokenDecoding:
            return TokenDecoding(
                limit=settings.max_new_tokens,
                ends=ends,
                padding=padding,
                slots=slots,
                skip=skip,
                over=(lambda some, tokens: check([places[row] for row in some], tokens)) if check.needed else None,
                choose=None if keys is None else Sampler(settings, keys[list(places)]),
                stop=settings.stop,
                heard=self._engine.meter.count,
            )

        replies = self._model.generate(rows, sequences, settings.max_new_tokens, decoding)
        self.broken.update(self._rows[row] for row in replies.broken)
        self._engine.generated += replies.generated
        decoded = self.tokenizer.batch_decode(replies.tokens, skip_special_tokens=True) if replies.tokens else []
        texts = [cut(text, settings.stop) for text in decoded]
        self._note(texts, replies.open)
        return texts

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> Likelihoods:
        """Measure how likely the continuations of every prompt are; see `LanguageModel.loglikelihood`."""
        rows, asked = self._prompt_rows(prompts, add_special_tokens), Different(prompts, continuations)
        encoded = asked.encoded(self._engine, add_special_tokens)
        texts = [prompt + text for prompt, row in asked.rows for text in row]
        check_lengths(self._engine.adapted.model, [one.ids[:-1] for row in encoded for one in row], texts, room=0)
        sums = self._model.loglikelihoods(rows, [encoded[number] for number in asked.numbers])
        found = asked.likelihoods(encoded, sums)
        unknown = found.broken()
        left = self._leave is not None and self._leave()  # then they may have no number because nobody was asked
        if not left:
            self.broken.update(self._rows[row] for row in unknown)
        self._note(found, unknown if left else ())
        return found

    def _note(self, answers: Sequence[Any], unanswered: Collection[int]) -> None:
        """Note what a call has answered, where calls may be left, and end it here if this one was."""
        exact = self._engine.adapted.model.dtype in (torch.float32, torch.float64)
        if self._leave is not None and exact:
            self._said.append(Said(self._rows, answers, frozenset(unanswered)))
        if unanswered:
            raise LeftOff(self._said)


class Different:
    """The different ones of rows that ask for likelihoods: particles ask the same, and their sizes are told once.

    Attributes:
        rows: Prompts with their continuations.
        numbers: Which of these every row is.
    """

    def __init__(self, prompts: Sequence[str], continuations: Sequence[Sequence[str]]) -> None:
        """Take what every row asks."""
        known: dict[tuple[str, tuple[str, ...]], int] = {}
        pairs = zip(prompts, map(tuple, continuations), strict=True)
        self.numbers = [known.setdefault(pair, len(known)) for pair in pairs]
        self.rows = list(known)

    def encoded(self, engine: Engine, add_special_tokens: bool) -> list[list[Continuation]]:
        """Return their tokens by the tokenizer of an engine."""
        prompts, texts = [prompt for prompt, _ in self.rows], [row for _, row in self.rows]
        return engine.encode_continuations(prompts, texts, add_special_tokens)

    def likelihoods(self, encoded: Sequence[Sequence[Continuation]], sums: Sums) -> Likelihoods:
        """Return the likelihoods of all rows.

        Args:
            encoded: The tokens.
            sums: What a model makes of the continuations of all rows.
        """
        counts, places = self.laid_out()
        tokens, characters = self._sizes(encoded)
        return Likelihoods(counts, sums.logarithms, tokens[places], characters[places], sums.greedy)

    def form(self, encoded: Sequence[Sequence[Continuation]]) -> "Form":
        """Return what the likelihoods of all rows look like, whoever's they are.

        Args:
            encoded: The tokens.
        """
        counts, places = self.laid_out()
        tokens, characters = self._sizes(encoded)
        return Form(counts, places, tokens[places], characters[places])

    def _sizes(self, encoded: Sequence[Sequence[Continuation]]) -> tuple[Tensor, Tensor]:
        """Return how many tokens and how many characters every continuation of `rows` has."""
        tokens = [len(one.ids) - one.split for row in encoded for one in row]
        characters = [len(text.strip()) for _, row in self.rows for text in row]
        return torch.tensor(tokens, dtype=torch.long), torch.tensor(characters, dtype=torch.long)

    def laid_out(self) -> tuple[Tensor, Tensor]:
        """Return how many continuations every row has, and of all of them the places among those of `rows`."""
        own = torch.tensor([len(row) for _, row in self.rows], dtype=torch.long)
        numbers = torch.tensor(self.numbers, dtype=torch.long)
        counts = own[numbers]
        return counts, places_of_runs((own.cumsum(0) - own)[numbers], counts)
