"""Particles on the resident model: adapters stacked beside one base, or whole models that take turns in it.

Which of the two it is, the resident model says: how many particles share a forward pass, and how they are taken up.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine.crowd import Crowd, common_prefix
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.generation import TokenReplies, generate_tokens
from swarm_lightning.evaluation.engine.likelihood import loglikelihoods
from swarm_lightning.evaluation.engine.text_rows import DecodingOf, PromptRows, Sums, TextRows
from swarm_lightning.evaluation.engine.tokens import Continuation, padding_id
from swarm_lightning.evaluation.lengths import positions_of
from swarm_lightning.evaluation.progress import Heard
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.vectors import Vectors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.experts.resident.resident import ResidentModel


class EngineRunner:
    """The part of the protocol `Runner` that an engine answers; its heirs take up candidates.

    Attributes:
        engine: The base as the model that becomes particles, and how batches are made.
        tokenizer: The base model's.
        settings: How candidates are evaluated.
    """

    def __init__(self, engine: Engine) -> None:
        """Take the engine.

        Args:
            engine: Of the base.
        """
        self.engine, self.tokenizer, self.settings = engine, engine.tokenizer, engine.settings

    @property
    def positions(self) -> int | None:
        """Tokens that the base reads at most; None where its config does not say."""
        return positions_of(self.engine.adapted.model)

    @property
    def generated(self) -> int:
        """Tokens generated so far."""
        return self.engine.generated

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """Return how many tokens every prompt has."""
        return [len(sequence) for sequence in self.engine.encode(prompts)]

    def rows_at_once(self, tokens: int) -> int:
        """Return how many rows of this many tokens are run together."""
        return self.engine.rows(tokens)


Result = TypeVar("Result")


class ResidentRunner(EngineRunner):
    """Runs particles by their weights; follows the protocol `Runner`.

    A candidate is a vector [D]: all of them are given as a tensor [P, D] or as P vectors.

    Attributes:
        engine: The resident model, and how batches are made.
        tokenizer: The base model's.
        settings: How batches are made.
        meter: Counts what the model does.
    """

    def __init__(
        self, adapted: "ResidentModel", tokenizer: "PreTrainedTokenizerBase", settings: EngineSettings | None = None
    ) -> None:
        """Keep the parts; the model is used in place.

        Args:
            adapted: The resident model.
            tokenizer: The base model's.
            settings: How batches are made.

        Raises:
            InputError: If more particles are to share a forward pass than the resident model can carry.
        """
        super().__init__(Engine(adapted, tokenizer, settings))
        self.meter = self.engine.meter

    @property
    def passes(self) -> int:
        """Forward passes so far."""
        return self.meter.passes

    @property
    def at_once(self) -> int | None:
        """How many particles share a forward pass; None for any number."""
        return self.engine.adapted.most_particles

    @contextmanager
    def session(self, candidates: Vectors | None, prompts: Mapping[str, Sequence[str]]) -> Iterator["ResidentSession"]:
        """Take up particles; see `Runner.session`."""
        if candidates is not None:
            _check_shape(candidates)
        adapted = self.engine.adapted
        adapted.unload()
        with adapted.base_only() if candidates is None else nullcontext():
            adapted.model.eval()
            try:
                yield ResidentSession(self.engine, candidates, prompts)
            finally:
                adapted.unload()

    def read(self, candidate: Tensor, prompts: Sequence[str], turn: Callable[[int], None]) -> None:
        """Let a particle read prompts one by one, for whoever listens to its layers.

        Args:
            candidate: The particle [D].
            prompts: What it reads.
            turn: Told before each which one it is.
        """
        adapted = self.engine.adapted
        adapted.unload()
        adapted.model.eval()
        try:
            crowd = Crowd(adapted, candidate[None], meter=self.meter)
            for place, ids in enumerate(self.engine.encode(prompts)):
                turn(place)
                tokens = torch.tensor([ids], device=crowd.device)
                positions = torch.arange(len(ids), device=crowd.device)[None]
                crowd.forward((0,), tokens, torch.ones_like(tokens), positions)
        finally:
            adapted.unload()


class ResidentSession:
    """Particles of one evaluation; follows the protocol `Session`."""

    models = 1

    def __init__(self, engine: Engine, vectors: Vectors | None, prompts: Mapping[str, Sequence[str]]) -> None:
        """Take particles and what they will be asked.

        Args:
            engine: How batches are made.
            vectors: Weights [P, D], or P vectors; None for the plain base.
            prompts: The first prompts, by task.
        """
        self._engine, self._vectors = engine, vectors
        self._models = {task: self._model(texts) for task, texts in prompts.items()}

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> TextRows:
        """Lend particles for one call; see `Session.rows`."""
        task = examples[0].task if examples else ""
        model = self._models[task] if task in self._models else self._model(())
        return TextRows(self._engine, model, candidates, whole_replies, noise)

    def forget(self) -> None:
        """Let go of the keys and values of prefixes."""
        for model in self._models.values():
            model.forget()

    def _model(self, prompts: Sequence[str]) -> "Particles":
        """Make the particles' model for prompts of one task: objectives ask with special tokens or without."""
        both = (True, False) if prompts and self._engine.settings.shared_prefix else ()
        prefixes = [common_prefix(self._engine.encode(prompts, special)) for special in both] or [(), ()]
        engine = self._engine
        return Particles(engine, *(Crowd(engine.adapted, self._vectors, prefix, engine.meter) for prefix in prefixes))


class Particles:
    """Particles that each answer rows of their own; follows the protocol `TokenModel`."""

    def __init__(self, engine: Engine, crowd: Crowd, bare_crowd: Crowd | None = None) -> None:
        """Take the particles.

        Args:
            engine: How batches are made.
            crowd: The particles on the resident model.
            bare_crowd: The same particles with the prefix of prompts to which no special tokens are added, as behind a
                chat template; `crowd` where not given.
        """
        self._engine = engine
        self._crowds = {True: crowd, False: bare_crowd or crowd}

    def generate(
        self, prompts: PromptRows, tokens: Sequence[Sequence[int]], limit: int, decoding: DecodingOf
    ) -> TokenReplies:
        """Choose tokens after prompts; see `TokenModel.generate`."""
        crowd, owners = self._crowds[prompts.add_special_tokens], prompts.owners
        skip = crowd.shared(tokens)

        def work(places: Sequence[int], slots: int) -> TokenReplies:
            some = [tokens[place] for place in places]
            how = replace(decoding(places, slots, skip), leave=prompts.leave)
            return generate_tokens(crowd, [owners[place] for place in places], some, how)

        longest = max((len(sequence) for sequence in tokens), default=0)
        replies = TokenReplies([[] for _ in owners])
        for places, part in self._in_groups(owners, work, longest + limit):
            for place, reply in zip(places, part.tokens, strict=True):
                replies.tokens[place] = reply
            replies.generated += part.generated
            replies.broken.update(places[row] for row in part.broken)
            replies.open.update(places[row] for row in part.open)
        return replies

    def loglikelihoods(self, prompts: PromptRows, continuations: Sequence[Sequence[Continuation]]) -> Sums:
        """Sum the log-probabilities of continuations; see `TokenModel.loglikelihoods`."""
        crowd, owners = self._crowds[prompts.add_special_tokens], prompts.owners
        padding = padding_id(self._engine.tokenizer)
        skip = crowd.shared([one.ids[: one.split] for row in continuations for one in row])

        def work(places: Sequence[int], slots: int) -> list[list[tuple[float, bool]]]:
            flat = [one for place in places for one in continuations[place]]
            asked = [owners[place] for place in places for _ in continuations[place]]
            heard = _by_row(self._engine.meter.count, len(places) / max(len(flat), 1))
            values = iter(loglikelihoods(crowd, asked, flat, slots, padding, skip, heard, prompts.leave))
            return [[next(values) for _ in continuations[place]] for place in places]

        longest = max((len(one.ids) for row in continuations for one in row), default=0)
        groups = self._in_groups(owners, work, longest)
        found = {place: row for places, rows in groups for place, row in zip(places, rows, strict=True)}
        return Sums.of([pair for place in range(len(owners)) for pair in found[place]])

    def forget(self) -> None:
        """Let go of the keys and values of prefixes; they are computed again where needed."""
        for crowd in self._crowds.values():
            crowd.forget()

    def _in_groups(
        self, owners: Sequence[int], work: Callable[[Sequence[int], int], Result], tokens: int
    ) -> list[tuple[list[int], Result]]:
        """Do work on the rows of as many particles at a time as fit; returns the rows and the result of every part."""
        present = sorted(set(owners))

        def attempt(rows: int, most: int) -> list[tuple[list[int], Result]]:
            found: list[tuple[list[int], Result]] = []
            for start in range(0, len(present), most):
                group = set(present[start : start + most])
                places = [place for place, particle in enumerate(owners) if particle in group]
                found.append((places, work(places, rows)))
                if len(group) < len(present):  # the next group needs the memory
                    self.forget()
            return found

        return self._engine.run(attempt, tokens)


def _by_row(heard: Heard, share: float) -> Heard:
    """Return what is told of continuations, each of which is such a share of a row."""
    return lambda continuations, tokens: heard(share * continuations, tokens)


def _check_shape(vectors: Vectors) -> None:
    shape = tuple(vectors.shape) if isinstance(vectors, Tensor) else (len(vectors), len(vectors[0]))
    if len(shape) != 2:
        raise ValueError(f"Expected weights [P, D] of P particles, but got {list(shape)}.")
