"""Token swarms: any models, mixed by what they say of the next token, by one number for each.

A candidate is its mixing numbers. Experts of one vocabulary are mixed token by token, exactly: likelihoods of given
texts are computed from a table that every expert fills once (`mixtures/kept_table.py`), and replies share what they
have in common (`mixtures/shared_generation.py`). Experts of different vocabularies are mixed by their texts
(`mixtures/text_mixture.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.generation import Replies
from swarm_lightning.evaluation.engine.text_rows import DecodingOf, PromptRows, Sums, TextRows
from swarm_lightning.evaluation.engine.tokens import Continuation
from swarm_lightning.evaluation.lengths import check_room
from swarm_lightning.evaluation.mixtures.kept_table import KeptTable
from swarm_lightning.evaluation.mixtures.mixture import AVERAGED, MixtureKind, shares_of
from swarm_lightning.evaluation.mixtures.shared_generation import Mixed, generate_shared
from swarm_lightning.evaluation.mixtures.text_mixture import TextExperts, TextMixtureRows
from swarm_lightning.evaluation.runner import Loaded, Session
from swarm_lightning.evaluation.runners.shelf_runner import ShelfRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.vectors import Vectors


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
        return TokenSwarmSession(self.base.engine, self._experts, shares_of(numbers, self.mixture))


class TokenSwarmSession:
    """Mixtures of one evaluation; follows the protocol `Session`.

    Attributes:
        models: Number of experts.
    """

    def __init__(self, engine: Engine, experts: "Experts | TextExperts", weights: Tensor) -> None:
        """Take mixtures.

        Args:
            engine: Of the base, whose tokenizer writes prompts.
            experts: What is mixed.
            weights: Of the experts in every mixture [P, n].
        """
        self.models = weights.shape[1]
        self._engine, self._experts, self._weights = engine, experts, weights

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> TextMixtureRows | TextRows:
        """Lend mixtures for one call; see `Session.rows`."""
        experts, weights = self._experts, self._weights
        if isinstance(experts, TextExperts):
            return TextMixtureRows(self._engine, experts, weights, candidates, whole_replies, noise)
        return TextRows(self._engine, TokenMixtures(experts, weights), candidates, whole_replies, noise)

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


class TokenMixtures:
    """Mixtures that each answer rows of their own; follows the protocol `TokenModel`."""

    def __init__(self, experts: Experts, weights: Tensor) -> None:
        """Take mixtures; see `TokenSwarmSession`."""
        self._experts, self._weights = experts, weights

    def generate(
        self, prompts: PromptRows, tokens: Sequence[Sequence[int]], limit: int, decoding: DecodingOf
    ) -> Replies:
        """Choose tokens after prompts; see `TokenModel.generate`."""
        mixed = self._experts.mixed
        longest = max((len(sequence) for sequence in tokens), default=0) + limit
        for group in mixed.shelf.groups:
            check_room(group.positions, tokens, prompts.texts, limit, group.name)

        def work(slots: int, _: int) -> Replies:
            most = min(slots, mixed.shelf.rows(longest))
            how = decoding(range(len(tokens)), max(len(tokens), 1), 0)
            return generate_shared(mixed, tokens, self._weights[list(prompts.owners)], most, replace(how, slots=most))

        return mixed.shelf.base.run(work, longest)

    def loglikelihoods(self, prompts: PromptRows, continuations: Sequence[Sequence[Continuation]]) -> Sums:
        """Compute the log-probabilities of continuations; see `TokenModel.loglikelihoods`."""
        different = {id(row): (text, row) for text, row in zip(prompts.texts, continuations, strict=True)}
        flat = [one.ids[:-1] for _, row in different.values() for one in row]
        texts = [text for text, row in different.values() for _ in row]
        for group in self._experts.mixed.shelf.groups:
            check_room(group.positions, flat, texts, 0, group.name)
        return self._experts.table.loglikelihoods(self._weights, prompts.owners, continuations)
