"""The resident model with its tokenizer, and how much of it is done at once.

The engine turns texts into tokens, decides how many rows and particles share a forward pass, and does a call again
with smaller batches where memory runs out. How rows run is in `generation.py` and `likelihood.py`.
"""

import gc
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.memory import RowBudget, is_out_of_memory
from swarm_lightning.evaluation.engine.tokens import Continuation, encode_continuations, encode_prompts
from swarm_lightning.evaluation.progress import Meter
from swarm_lightning.evaluation.settings import EngineSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.experts.resident.resident import ResidentModel

KEPT_PROMPTS = 100_000  # the same prompts come back in every iteration
Key = TypeVar("Key")
Result = TypeVar("Result")


class Engine:
    """The resident model with its tokenizer, and how batches are made.

    Attributes:
        adapted: The resident model.
        tokenizer: The base model's.
        settings: What the user wants of it.
        generated: Tokens generated so far.
        meter: Counts what is done, while it is done.
    """

    def __init__(
        self,
        adapted: "ResidentModel",
        tokenizer: "PreTrainedTokenizerBase",
        settings: EngineSettings | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Keep the parts; the model is used in place.

        Args:
            adapted: The resident model.
            tokenizer: The base model's.
            settings: How batches are made.
            meter: What counts it, where that is another's too.

        Raises:
            InputError: If more particles are to share a forward pass than the resident model can carry.
        """
        self.adapted = adapted
        self.tokenizer = tokenizer
        self.settings = settings or EngineSettings()
        most, wanted = adapted.most_particles, self.settings.particles
        if most is not None and wanted is not None and wanted > most:
            raise InputError(
                f"Expected engine.particles to be at most {most} for full checkpoints, which take turns in the "
                f"resident model, but got {wanted}. Leave it out."
            )
        self.generated = 0
        self.meter = Meter() if meter is None else meter
        self._budget = RowBudget(adapted.model)
        self._most_rows: int | None = None  # what memory has been found to hold
        self._prompts: dict[tuple[str, bool], list[int]] = {}
        self._continuations: dict[tuple[str, tuple[str, ...], bool], list[Continuation]] = {}

    def encode(self, prompts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """Tokenise prompts; those that were seen before are remembered. See `encode_prompts`."""
        keys = [(text, add_special_tokens) for text in prompts]
        return remembered(
            self._prompts,
            keys,
            lambda new: encode_prompts(self.tokenizer, [text for text, _ in new], add_special_tokens),
        )

    def encode_continuations(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool
    ) -> list[list[Continuation]]:
        """Tokenise prompts with continuations; those that were seen before are remembered. See `tokens.py`."""
        keys = [
            (prompt, tuple(texts), add_special_tokens) for prompt, texts in zip(prompts, continuations, strict=True)
        ]
        return remembered(
            self._continuations,
            keys,
            lambda new: encode_continuations(
                self.tokenizer, [prompt for prompt, _, _ in new], [texts for _, texts, _ in new], add_special_tokens
            ),
        )

    def rows(self, tokens: int) -> int:
        """Return how many rows of this many tokens share a forward pass, from the settings and the free memory."""
        rows = self.settings.rows or self._budget.rows(tokens)
        return min(rows, self._most_rows or rows)

    def run(self, work: Callable[[int, int], Result], tokens: int) -> Result:
        """Do work that makes batches, and where memory runs out, do it again with smaller ones.

        Args:
            work: What to do, given how many rows and how many particles share a forward pass at most; it starts anew
                at every call.
            tokens: Tokens of the longest row.

        Returns:
            What the work returned.

        Raises:
            InputError: If memory does not hold a single row.
        """
        while True:
            rows = self.rows(tokens)
            try:
                with self._budget.watched(rows, tokens):
                    return work(rows, min(self.settings.particles or rows, self.adapted.most_particles or rows, rows))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if rows == 1:
                    raise InputError(
                        "Expected enough memory for one row of one particle, but it has run out. Use shorter prompts, "
                        "fewer new tokens, a smaller dtype, or a device with more memory."
                    ) from error
            # Outside of the except block, whose traceback would keep the tensors alive.
            self._most_rows = rows // 2
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            warnings.warn(f"Memory ran out: continuing with at most {rows // 2} rows per forward pass.", stacklevel=2)


def remembered(
    memory: dict[Key, Result], keys: Sequence[Key], encode: Callable[[Sequence[Key]], Sequence[Result]]
) -> list[Result]:
    """Return what is made of keys, once for each that is new.

    Args:
        memory: What was made before; emptied where it grows too large.
        keys: They may repeat.
        encode: Makes something of each of some keys.
    """
    unknown = [key for key in dict.fromkeys(keys) if key not in memory]
    if len(memory) + len(unknown) > KEPT_PROMPTS:
        memory.clear()
        unknown = list(dict.fromkeys(keys))
    memory.update(zip(unknown, encode(unknown), strict=True))
    return [memory[key] for key in keys]
