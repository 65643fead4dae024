"""What runners of several models take from their shelf: how long texts are, and how many rows go together."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from swarm_lightning.evaluation.engine.engine import remembered
from swarm_lightning.evaluation.engine.tokens import encode_prompts
from swarm_lightning.evaluation.lengths import ids_of
from swarm_lightning.evaluation.mixtures.model_groups import Shelf
from swarm_lightning.evaluation.runner import Loaded, Session
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.experts.tokenizers.vocabularies import one_vocabulary
from swarm_lightning.vectors import Vectors


class ShelfRunner(ABC):
    """The part of the protocol `Runner` that the models on a shelf answer; its heirs take up candidates.

    Attributes:
        base: Runs the base alone.
        tokenizer: The base's, which renders prompts.
        settings: How batches are made.
        at_once: None: any number of candidates are asked together.
        meter: Counts what the models do.
        shelf: The models.
        vocabulary: Where an id is the same token to all of them, how many ids they have; else None.
    """

    at_once: int | None = None

    def __init__(self, loaded: Loaded) -> None:
        """Load the models.

        Args:
            loaded: What a search has loaded: the base, its tokenizer, and a `ModelPool`.

        Raises:
            InputError: If a model or its tokenizer can't be loaded, or an adapter does not belong to its base.
        """
        self.base = ResidentRunner(loaded.resident, loaded.tokenizer, loaded.settings)
        self.tokenizer, self.settings, self.meter = self.base.tokenizer, self.base.settings, self.base.meter
        self.shelf = Shelf(loaded, self.base.engine)
        self._lengths: dict[str, int] = {}
        groups = self.shelf.groups
        self.vocabulary = one_vocabulary(
            [self.tokenizer, *(group.tokenizer for group in groups)],
            [ids_of(loaded.resident.model), *(group.size for group in groups)],
        )

    @contextmanager
    def session(self, candidates: Vectors | None, prompts: Mapping[str, Sequence[str]]) -> Iterator[Session]:
        """Take up candidates; see `Runner.session`."""
        if candidates is None:
            with self.base.session(None, prompts) as base:
                yield base
            return
        try:
            yield self.take(candidates)
        finally:
            self.shelf.unload()

    @abstractmethod
    def take(self, candidates: Vectors) -> Session:
        """Return the session of candidates, whose models are put back on the shelf behind it."""

    @property
    def positions(self) -> int | None:
        """Tokens that every model reads; None where nothing limits any."""
        limits = [self.base.positions, *(group.positions for group in self.shelf.groups)]
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def generated(self) -> int:
        """Tokens generated so far."""
        return self.base.generated

    @property
    def passes(self) -> int:
        """Forward passes so far, of all models."""
        return self.meter.passes

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """Return how many tokens every prompt has: of several tokenizers, so many that the least room is right."""
        found = self.base.lengths(prompts)
        if self.vocabulary is not None or self.positions is None:
            return found
        return [max(pair) for pair in zip(found, remembered(self._lengths, prompts, self._longest), strict=True)]

    def _longest(self, prompts: Sequence[str]) -> list[int]:
        """Return how many tokens every prompt has to the model that it leaves the least room."""
        found = [0] * len(prompts)
        for group in self.shelf.groups:
            if group.positions is not None and self.positions is not None:
                more = group.positions - self.positions
                own = (len(ids) - more for ids in encode_prompts(group.tokenizer, prompts))
                found = [max(pair) for pair in zip(found, own, strict=True)]
        return found
