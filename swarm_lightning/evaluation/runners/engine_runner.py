"""What runners of particles take from an engine: how long texts are, and how many rows go together."""

from collections.abc import Sequence

from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.lengths import positions_of


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
