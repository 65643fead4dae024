"""Mixtures of experts: their next-token distributions are mixed for every row, by weights that a candidate gives.

All experts ride in one forward pass beside one base, so whole models, which take turns, can't be mixed. Rows of several
candidates share a pass too: they differ in their weights only. How distributions are mixed is in `mixture.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.generation import TokenReplies
from swarm_lightning.evaluation.engine.likelihood import loglikelihoods
from swarm_lightning.evaluation.engine.text_rows import DecodingOf, PromptRows, Sums, TextRows
from swarm_lightning.evaluation.engine.tokens import Continuation, padding_id
from swarm_lightning.evaluation.mixtures.mixture import Averaged, generate_mixed, mixed_loglikelihoods
from swarm_lightning.evaluation.runner import Session
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.sampling import RowNoise


class MixedExperts:
    """Experts that are mixed, each for itself: what their weights in a row may be measured on.

    Attributes:
        engine: How batches are made.
        crowd: The experts on the resident model.
        count: How many there are, n.
    """

    def __init__(self, engine: Engine, vectors: Tensor) -> None:
        """Take experts.

        Args:
            engine: How batches are made.
            vectors: Weights of the experts [n, D].
        """
        self.engine, self.count = engine, len(vectors)
        self.crowd = Crowd(engine.adapted, vectors, meter=engine.meter)

    def mean_loglikelihoods(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Return how likely every expert by itself finds texts, per token.

        Args:
            sequences: Token ids of the texts, R of them.

        Returns:
            Mean natural logarithm over the tokens behind the first [R, n] float64; 0 for a text of one token.
        """
        asked = [(row, expert) for row, ids in enumerate(sequences) if len(ids) > 1 for expert in range(self.count)]
        texts = [Continuation(tuple(sequences[row]), 1) for row, _ in asked]
        owners = [expert for _, expert in asked]
        padding = padding_id(self.engine.tokenizer)

        def work(rows: int, _: int) -> list[tuple[float, bool]]:
            return loglikelihoods(self.crowd, owners, texts, rows, padding)

        found = torch.zeros(len(sequences), self.count, dtype=torch.float64)
        if asked:
            sums = self.engine.run(work, max(len(one.ids) for one in texts))
            for (row, expert), (total, _) in zip(asked, sums, strict=True):
                found[row, expert] = total / (len(sequences[row]) - 1)
        return found


# Given the experts, prompts and their token ids, the weights of the experts in every row [R, n], >= 0, of sum one.
Weigh = Callable[[MixedExperts, Sequence[str], Sequence[Sequence[int]]], Tensor]


class MixtureRunner:
    """Runs mixtures of the same experts; follows the protocol `Runner`.

    A candidate is the weights of the experts in all rows [n], or a function that gives them for every prompt; all of
    them are given as a tensor [P, n] or as a list.

    Attributes:
        tokenizer: The base model's.
        settings: How batches are made.
        at_once: None: any number of mixtures share a forward pass.
    """

    at_once: int | None = None

    def __init__(self, resident: ResidentRunner, experts: Tensor, averaged: Averaged) -> None:
        """Say what is mixed, and how.

        Args:
            resident: Runs the experts.
            experts: Their weights [n, D].
            averaged: What of their distributions is averaged.

        Raises:
            InputError: If the experts are whole models.
        """
        if resident.at_once is not None:
            raise InputError(
                "Expected LoRA adapters to mix, which run beside each other in one forward pass, but got full "
                "checkpoints, which take turns in the resident model: every token would take up all of them."
            )
        self.tokenizer, self.settings = resident.tokenizer, resident.settings
        self._resident, self._experts, self._averaged = resident, experts, averaged

    @property
    def positions(self) -> int | None:
        """Tokens that the base reads at most; None where its config does not say."""
        return self._resident.positions

    @property
    def generated(self) -> int:
        """Tokens generated so far, by the experts alone too."""
        return self._resident.generated

    @property
    def passes(self) -> int:
        """Forward passes so far, by the experts alone too."""
        return self._resident.passes

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """Return how many tokens every prompt has."""
        return self._resident.lengths(prompts)

    def rows_at_once(self, tokens: int) -> int:
        """Return how many rows share a forward pass, in which each stands once for every expert."""
        return max(1, self._resident.rows_at_once(tokens) // len(self._experts))

    @contextmanager
    def session(
        self, candidates: Tensor | Sequence[Tensor | Weigh] | None, prompts: Mapping[str, Sequence[str]]
    ) -> Iterator[Session]:
        """Take up mixtures; see `Runner.session`."""
        if candidates is None:
            with self._resident.session(None, prompts) as base:
                yield base
            return
        count = len(self._experts)
        for one in candidates:
            if isinstance(one, Tensor) and one.shape != (count,):
                raise ValueError(f"Expected weights of {count} experts for every mixture, but got {list(one.shape)}.")
        with self._resident.session(self._experts, {}):
            yield MixtureSession(MixedExperts(self._resident.engine, self._experts), list(candidates), self._averaged)


class MixtureSession:
    """Mixtures of one evaluation; follows the protocol `Session`."""

    def __init__(self, experts: MixedExperts, candidates: Sequence[Tensor | Weigh], averaged: Averaged) -> None:
        """Take mixtures.

        Args:
            experts: What is mixed.
            candidates: The weights of every mixture, or what gives them.
            averaged: What of the distributions is averaged.
        """
        self.models = experts.count
        self._engine, self._model = experts.engine, Mixtures(experts, candidates, averaged)

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> TextRows:
        """Lend mixtures for one call; see `Session.rows`."""
        return TextRows(self._engine, self._model, candidates, whole_replies, noise)

    def forget(self) -> None:
        """Nothing is kept between calls."""


class Mixtures:
    """Mixtures that each answer rows of their own; follows the protocol `TokenModel`."""

    def __init__(self, experts: MixedExperts, candidates: Sequence[Tensor | Weigh], averaged: Averaged) -> None:
        """Take mixtures; see `MixtureSession`."""
        self._experts, self._candidates, self._averaged = experts, candidates, averaged

    def generate(
        self, prompts: PromptRows, tokens: Sequence[Sequence[int]], limit: int, decoding: DecodingOf
    ) -> TokenReplies:
        """Choose tokens after prompts; see `TokenModel.generate`."""
        experts, weights = self._experts, self._weights(prompts, tokens)

        def work(slots: int, _: int) -> TokenReplies:
            chosen = decoding(range(len(tokens)), slots, 0)
            return generate_mixed(experts.crowd, experts.count, tokens, weights, self._averaged, chosen)

        longest = max((len(sequence) for sequence in tokens), default=0)
        return experts.engine.run(work, longest + limit)

    def loglikelihoods(self, prompts: PromptRows, continuations: Sequence[Sequence[Continuation]]) -> Sums:
        """Sum the log-probabilities of continuations; see `TokenModel.loglikelihoods`."""
        experts, flat = self._experts, [one for row in continuations for one in row]
        tokens = experts.engine.encode(prompts.texts, prompts.add_special_tokens)
        rows = [place for place, row in enumerate(continuations) for _ in row]
        weights = self._weights(prompts, tokens)[rows]
        padding = padding_id(experts.engine.tokenizer)

        def work(slots: int, _: int) -> list[tuple[float, bool]]:
            return mixed_loglikelihoods(experts.crowd, experts.count, flat, weights, self._averaged, slots, padding)

        return Sums.of(experts.engine.run(work, max((len(one.ids) for one in flat), default=0)))

    def _weights(self, prompts: PromptRows, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Return the weights of the experts in every row [R, n] float64."""
        weights = torch.zeros(len(tokens), self._experts.count, dtype=torch.float64)
        for candidate in sorted(set(prompts.owners)):
            places = [place for place, owner in enumerate(prompts.owners) if owner == candidate]
            one = self._candidates[candidate]
            if not isinstance(one, Tensor):
                texts, ids = [prompts.texts[place] for place in places], [tokens[place] for place in places]
                one = one(self._experts, texts, ids)
            weights[places] = one.to(weights)
        return weights
