"""Token swarms: any models, mixed by what they say of the next token, by one number for each.

A candidate is its mixing numbers. Experts of one vocabulary are mixed token by token, exactly: likelihoods of given
texts are computed from a table that every expert fills once (`mixtures/kept_table.py`), and replies share what they
have in common (`mixtures/shared_generation.py`). Experts of different vocabularies are mixed by their texts
(`mixtures/text_mixture.py`).
"""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.generation import TokenReplies
from swarm_lightning.evaluation.engine.text_rows import DecodingOf, Different, PromptRows, Sums, TextRows
from swarm_lightning.evaluation.engine.tokens import Continuation
from swarm_lightning.evaluation.lengths import check_room
from swarm_lightning.evaluation.mixtures.kept_table import KeptTable, Wanted
from swarm_lightning.evaluation.mixtures.mixture import AVERAGED, MixtureKind, shares_of
from swarm_lightning.evaluation.mixtures.shared_generation import Mixed, generate_shared
from swarm_lightning.evaluation.mixtures.text_mixture import TextExperts, TextMixtureRows
from swarm_lightning.evaluation.runner import Loaded, Session
from swarm_lightning.evaluation.runners.shelf_runner import ShelfRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.whole_tables import Texts
from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.vectors import Vectors

# Tells the likelihoods of certain texts under mixtures, by the experts' weights in each [P, n].
Asking = Callable[[Tensor], Likelihoods]


class TokenSwarmRunner(ShelfRunner):
    """Runs mixtures of any models; follows the protocol `Runner`.

    A candidate is mixing numbers [n]: all of them are given as a tensor [P, n] or as P vectors.

    Attributes:
        one_vocabulary: Whether experts are mixed token by token.
    """

    def __init__(self, loaded: Loaded, mixture: MixtureKind, by_texts: bool = False) -> None:
        """Load the models.

        Args:
            loaded: What a search has loaded.
            mixture: What the numbers multiply.
            by_texts: Whether experts are mixed by their texts even if they have one vocabulary.

        Raises:
            InputError: If a model can't be loaded, or their tokenizers can't be matched.
        """
        super().__init__(loaded)
        self.mixture = mixture
        averaged = AVERAGED[mixture]
        self._known: WeakKeyDictionary[Texts, Asking] = WeakKeyDictionary()
        if self.vocabulary is None:
            rank_zero_info(
                "The experts are mixed by their texts, which is approximate: an id is not the same token to all models."
            )
        self.one_vocabulary = self.vocabulary is not None and not by_texts
        if self.vocabulary is None or by_texts:
            self._experts: Experts | TextExperts = TextExperts(self.shelf, averaged)
            return
        mixed = Mixed(self.shelf, averaged, self.vocabulary)
        self._experts = Experts(mixed, KeptTable(self.shelf, averaged, self.vocabulary))

    def rows_at_once(self, tokens: int) -> int:
        """Return how many rows of this many tokens are asked together."""
        return self.shelf.rows(tokens)

    def take(self, candidates: Vectors) -> Session:
        """Take up mixtures."""
        numbers = candidates if isinstance(candidates, Tensor) else torch.stack([one[:] for one in candidates])
        if numbers.dim() != 2 or numbers.shape[1] != self.shelf.count:
            raise ValueError(
                f"Expected {self.shelf.count} mixing numbers of every candidate, but got {list(numbers.shape)}."
            )
        return TokenSwarmSession(self.base.engine, self._experts, shares_of(numbers, self.mixture), self._known)


class TokenSwarmSession:
    """Mixtures of one evaluation; follows the protocol `Session`.

    Attributes:
        models: Number of experts.
    """

    def __init__(
        self,
        engine: Engine,
        experts: "Experts | TextExperts",
        weights: Tensor,
        known: MutableMapping[Texts, Asking],
    ) -> None:
        """Take mixtures.

        Args:
            engine: Of the base, whose tokenizer writes prompts.
            experts: What is mixed.
            weights: Of the experts in every mixture [P, n].
            known: Tells the likelihoods of texts that are asked again and again, in all sessions.
        """
        self.models = weights.shape[1]
        self._engine, self._experts, self._weights, self._known = engine, experts, weights, known

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> TextMixtureRows | TextRows:
        """Lend mixtures for one call; see `Session.rows`."""
        experts, weights = self._experts, self._weights
        if isinstance(experts, TextExperts):
            return TextMixtureRows(self._engine, experts, weights, candidates, whole_replies, noise)
        return TextRows(self._engine, TokenMixtures(experts, weights), candidates, whole_replies, noise)

    def likelihoods(self, candidates: Sequence[int], texts: Texts) -> Likelihoods:
        """Return what mixtures make of texts, each of which every expert reads once; see `KnowsLikelihoods`."""
        if texts not in self._known:
            asked = Different(texts.prompts, texts.continuations)
            self._known[texts] = self._experts.asking(self._engine, asked, texts.add_special_tokens)
        return self._known[texts](self._weights[list(candidates)])

    def forget(self) -> None:
        """Let nothing go: what the experts say of texts is the same for all particles to come."""


@dataclass(frozen=True)
class Experts:
    """Experts of one vocabulary, and what is known of them.

    Attributes:
        mixed: The experts.
        table: What they say of given texts.
    """

    mixed: Mixed
    table: KeptTable

    def asking(self, engine: Engine, asked: Different, add_special_tokens: bool) -> Asking:
        """Return what tells the likelihoods of texts under any mixtures.

        Args:
            engine: Of the base, whose tokenizer is that of all.
            asked: Prompts with their continuations.
            add_special_tokens: Whether the tokenizer adds its special tokens to prompts.

        Raises:
            InputError: If a text is too long for a model.
        """
        encoded = asked.encoded(engine, add_special_tokens)
        self.check_fits([prompt for prompt, _ in asked.rows], encoded)
        flat = [one for row in encoded for one in row]
        columns = {one: column for column, one in enumerate(dict.fromkeys(flat))}
        own = torch.tensor([columns[one] for one in flat], dtype=torch.long)
        form = asked.form(encoded)
        form, wanted = replace(form, places=own[form.places]), Wanted(list(columns))
        return lambda weights: form.of(self.table.tables(weights, wanted))

    def check_fits(self, prompts: Sequence[str], continuations: Sequence[Sequence[Continuation]]) -> None:
        """Refuse continuations that are too long for a model.

        Args:
            prompts: What they stand behind, for the message.
            continuations: Those of every prompt.

        Raises:
            InputError: If there is one.
        """
        flat = [one.ids[:-1] for row in continuations for one in row]
        texts = [prompt for prompt, row in zip(prompts, continuations, strict=True) for _ in row]
        for group in self.mixed.shelf.groups:
            check_room(group.positions, flat, texts, 0, group.name)


class TokenMixtures:
    """Mixtures that each answer rows of their own; follows the protocol `TokenModel`."""

    def __init__(self, experts: Experts, weights: Tensor) -> None:
        """Take mixtures; see `TokenSwarmSession`."""
        self._experts, self._weights = experts, weights

    def generate(
        self, prompts: PromptRows, tokens: Sequence[Sequence[int]], limit: int, decoding: DecodingOf
    ) -> TokenReplies:
        """Choose tokens after prompts; see `TokenModel.generate`."""
        mixed = self._experts.mixed
        longest = max((len(sequence) for sequence in tokens), default=0) + limit
        for group in mixed.shelf.groups:
            check_room(group.positions, tokens, prompts.texts, limit, group.name)

        def work(slots: int, _: int) -> TokenReplies:
            most = min(slots, mixed.shelf.rows(longest))
            how = decoding(range(len(tokens)), max(len(tokens), 1), 0)
            return generate_shared(mixed, tokens, self._weights[list(prompts.owners)], most, replace(how, slots=most))

        return mixed.shelf.base.run(work, longest)

    def loglikelihoods(self, prompts: PromptRows, continuations: Sequence[Sequence[Continuation]]) -> Sums:
        """Compute the log-probabilities of continuations; see `TokenModel.loglikelihoods`."""
        different = {id(row): (text, row) for text, row in zip(prompts.texts, continuations, strict=True)}
        self._experts.check_fits(*zip(*different.values(), strict=True) if different else ([], []))
        return self._experts.table.loglikelihoods(self._weights, prompts.owners, continuations)
