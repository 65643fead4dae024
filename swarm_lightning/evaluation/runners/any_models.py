"""Models of any architecture and vocabulary, of which each answers alone: what stands in the nodes of a graph.

A candidate names one of the experts. Its rows are asked of the model that it stands on, in that model's own tokens; the
base's tokenizer renders the prompts of all. Models that memory has no room for together take turns.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.text_rows import OwnedRows, TextRows
from swarm_lightning.evaluation.mixtures.model_groups import ModelGroup, Shelf
from swarm_lightning.evaluation.runner import Session
from swarm_lightning.evaluation.runners.resident import Particles
from swarm_lightning.evaluation.runners.shelf_runner import ShelfRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.objectives.protocol import GenerationSettings, Likelihood, RowDecided
from swarm_lightning.vectors import Vectors

Answer = TypeVar("Answer")


class AnyModelsRunner(ShelfRunner):
    """Runs models of any kind, each alone; follows the protocol `Runner`.

    A candidate is a vector [n] that is 1 at the place of its expert and 0 elsewhere, as those of a `ModelPool` are.
    """

    def rows_at_once(self, tokens: int) -> int:
        """Return how many rows of this many tokens are asked together; see `Runner.rows_at_once`."""
        return self.base.rows_at_once(tokens)

    def take(self, candidates: Vectors) -> Session:
        """Take up experts."""
        return AnyModelsSession(self.base.engine, self.shelf, [self._expert(one[:]) for one in candidates])

    def _expert(self, vector: Tensor) -> int:
        """Return the place of the expert that a vector names."""
        place = int(vector.argmax()) if len(vector) else 0
        if not torch.equal(vector.cpu().float(), torch.eye(self.shelf.count)[place]):
            raise ValueError(f"Expected 1 for one of {self.shelf.count} experts and 0 for the rest, but got {vector}.")
        return place


class AnyModelsSession:
    """Experts of one evaluation; follows the protocol `Session`."""

    models = 1

    def __init__(self, engine: Engine, shelf: Shelf, experts: Sequence[int]) -> None:
        """Take experts.

        Args:
            engine: Of the base.
            shelf: The models.
            experts: The expert that every candidate names.
        """
        self._engine, self._shelf, self._experts = engine, shelf, experts

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> "AnyModelsRows":
        """Lend experts for one call; see `Session.rows`."""
        owners = [self._experts[candidate] for candidate in candidates]
        return AnyModelsRows(self._engine, self._shelf, owners, whole_replies, noise)

    def forget(self) -> None:
        """Let nothing go: nothing is kept between calls."""


class AnyModelsRows(OwnedRows):
    """Experts as a language model, row by row; follows the protocol `Rows`."""

    def __init__(
        self, engine: Engine, shelf: Shelf, owners: Sequence[int], whole_replies: bool, noise: RowNoise
    ) -> None:
        """Say which expert answers which row.

        Args:
            engine: Of the base.
            shelf: The models.
            owners: The expert of every row.
            whole_replies: Whether replies go on when their score is settled.
            noise: Where replies are sampled, what seeds the draws of every row.
        """
        super().__init__(engine, owners, whole_replies, noise)
        self._shelf, self._whole = shelf, whole_replies

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        """Reply to every prompt; see `LanguageModel.generate`."""
        self._prompt_rows(prompts, add_special_tokens)

        def ask(rows: TextRows, places: Sequence[int]) -> list[str]:
            own = None if decided is None else (lambda row, text: decided(places[row], text))
            return rows.generate([prompts[place] for place in places], settings, add_special_tokens, own)

        found = self._by_model(ask)
        self._turns += 1
        return found

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> Sequence[Sequence[Likelihood]]:
        """Measure how likely the continuations of every prompt are; see `LanguageModel.loglikelihood`."""
        self._prompt_rows(prompts, add_special_tokens)

        def ask(rows: TextRows, places: Sequence[int]) -> Sequence[Sequence[Likelihood]]:
            asked = [prompts[place] for place in places], [continuations[place] for place in places]
            return rows.loglikelihood(*asked, add_special_tokens)

        return self._by_model(ask)

    def _by_model(self, ask: Callable[[TextRows, Sequence[int]], Sequence[Answer]]) -> list[Answer]:
        """Ask every model its rows, one model after the other; returns answers by the rows' order."""
        found: dict[int, Answer] = {}
        for group in self._shelf.groups:
            places = [row for row, owner in enumerate(self.owners) if owner in group.places]
            if not places:
                continue
            rows, engine = self._rows_of(group, places), self._shelf.engine(group)
            before = engine.generated
            found.update(zip(places, ask(rows, places), strict=True))
            if engine is not self._engine:  # which counts for all
                self._engine.generated += engine.generated - before
            self.broken.update(self._rows[places[row]] for row in rows.broken)
        return [found[row] for row in range(len(self.owners))]

    def _rows_of(self, group: ModelGroup, places: Sequence[int]) -> TextRows:
        engine, crowd = self._shelf.engine(group), self._shelf.crowd(group)
        owners = [group.places.index(self.owners[place]) for place in places]
        noise = None if self._noise is None else self._noise.select(places)
        return TextRows(engine, Particles(engine, crowd), owners, self._whole, noise, self._turns)
