"""Particles on the resident model, as objectives see them: every row of a call belongs to one particle.

The engine turns texts into tokens, decides how many rows and particles share a forward pass, and does a call again
with smaller batches where memory runs out. How rows run is in `generation.py` and `likelihood.py`.
"""

import copy
import gc
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.crowd import Crowd
from swarm_lightning.evaluation.generation import Decoding, generate_tokens
from swarm_lightning.evaluation.likelihood import loglikelihoods
from swarm_lightning.evaluation.memory import RowBudget, is_out_of_memory
from swarm_lightning.evaluation.row_stops import StopCheck, cut
from swarm_lightning.evaluation.sampling import RowNoise, Sampler
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.evaluation.tokens import (
    Continuation,
    check_lengths,
    encode_continuations,
    encode_prompts,
    end_of_text_ids,
    padding_id,
)
from swarm_lightning.objectives.protocol import GenerationSettings, Likelihood, RowDecided

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.experts.resident import ResidentModel

KEPT_PROMPTS = 100_000  # the same prompts come back in every iteration
Result = TypeVar("Result")


class Engine:
    """The resident model with its tokenizer, and how batches are made.

    Attributes:
        adapted: The resident model.
        tokenizer: The base model's.
        settings: What the user wants of it.
        generated: Tokens generated so far.
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
        self._budget = RowBudget(adapted.model)
        self._most_rows: int | None = None  # what memory has been found to hold
        self._prompts: dict[tuple[str, bool], list[int]] = {}
        self._continuations: dict[tuple[str, tuple[str, ...], bool], list[Continuation]] = {}

    def encode(self, prompts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """Tokenise prompts; those that were seen before are remembered. See `encode_prompts`."""
        keys = [(text, add_special_tokens) for text in prompts]
        return _remembered(
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
        return _remembered(
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
            warnings.warn(f"Memory ran out: going on with {rows // 2} rows of a forward pass at most.", stacklevel=2)


class ParticleRows:
    """Particles of one evaluation as a language model, row by row; follows the protocol `LanguageModel`.

    Attributes:
        tokenizer: The base model's.
        device: Where the base model computes.
        broken: Rows for which the model gave NaN or infinity.
    """

    def __init__(
        self,
        engine: Engine,
        crowd: Crowd,
        particles: Sequence[int],
        whole_replies: bool = False,
        bare_crowd: Crowd | None = None,
        noise: RowNoise | None = None,
    ) -> None:
        """Say which particle answers which row.

        Args:
            engine: How batches are made.
            crowd: The particles on the resident model.
            particles: The particle of every row.
            whole_replies: Whether replies go on when their score is settled.
            bare_crowd: The same particles with the prefix of prompts to which no special tokens are added, as behind a
                chat template; `crowd` where not given.
            noise: Where replies are sampled, what seeds the draws of every row.
        """
        self.tokenizer = engine.tokenizer
        self.device = engine.adapted.model.device
        self.broken: set[int] = set()
        self._engine = engine
        self._crowds = {True: crowd, False: bare_crowd or crowd}
        self._particles = tuple(particles)
        self._rows = tuple(range(len(particles)))
        self._row_stops = engine.settings.row_stops and not whole_replies
        self._noise = noise
        self._turns = 0

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        """Reply to every prompt; see `LanguageModel.generate`."""
        engine, model = self._engine, self._engine.adapted.model
        sequences = self._sequences(prompts, settings, add_special_tokens)
        check = StopCheck(self.tokenizer, settings.stop, decided if self._row_stops else None)
        ends, padding = frozenset(end_of_text_ids(model, self.tokenizer)), padding_id(self.tokenizer)
        crowd = self._crowds[add_special_tokens]
        skip = crowd.shared(sequences)
        keys = self._keys() if settings.sampled else None
        self._turns += 1

        def work(places: Sequence[int], rows: int) -> list[list[int]]:
            decoding = Decoding(
                limit=settings.max_new_tokens,
                ends=ends,
                padding=padding,
                slots=rows,
                skip=skip,
                over=(lambda some, tokens: check([places[row] for row in some], tokens)) if check.needed else None,
                choose=None if keys is None else Sampler(settings, keys[list(places)]),
            )
            owners = [self._particles[place] for place in places]
            replies = generate_tokens(crowd, owners, [sequences[place] for place in places], decoding)
            self.broken.update(self._rows[places[row]] for row in replies.broken)
            engine.generated += replies.generated
            return replies.tokens

        longest = max((len(sequence) for sequence in sequences), default=0)
        tokens = self._in_groups(work, longest + settings.max_new_tokens)
        return self._texts(tokens, settings)

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> list[list[Likelihood]]:
        """Measure how likely the continuations of every prompt are; see `LanguageModel.loglikelihood`."""
        self._check_rows(prompts)
        engine = self._engine
        encoded = engine.encode_continuations(prompts, continuations, add_special_tokens)
        everything = [one for row in encoded for one in row]
        texts = [prompt + text for prompt, row in zip(prompts, continuations, strict=True) for text in row]
        check_lengths(engine.adapted.model, [one.ids[:-1] for one in everything], texts, room=0)
        padding = padding_id(self.tokenizer)
        crowd = self._crowds[add_special_tokens]
        skip = crowd.shared([one.ids[: one.split] for one in everything])

        def work(places: Sequence[int], rows: int) -> list[list[tuple[float, bool]]]:
            flat = [one for place in places for one in encoded[place]]
            owners = [self._particles[place] for place in places for _ in encoded[place]]
            values = iter(loglikelihoods(crowd, owners, flat, rows, padding, skip))
            found = [[next(values) for _ in encoded[place]] for place in places]
            nothing = [any(math.isnan(value) for value, _ in row) for row in found]
            self.broken.update(self._rows[place] for place, broken in zip(places, nothing, strict=True) if broken)
            return found

        longest = max((len(one.ids) for one in everything), default=0)
        logarithms = self._in_groups(work, longest)
        return [
            [
                Likelihood(logarithm, len(one.ids) - one.split, len(text.strip()), greedy)
                for (logarithm, greedy), one, text in zip(*row, strict=True)
            ]
            for row in zip(logarithms, encoded, continuations, strict=True)
        ]

    def select(self, places: Sequence[int]) -> "ParticleRows":
        """Return the same particles for some of the rows; see `LanguageModel.select`.

        What breaks there is noted here, by this model's row.
        """
        selected = copy.copy(self)
        selected._rows = tuple(self._rows[place] for place in places)
        selected._particles = tuple(self._particles[place] for place in places)
        selected._noise = None if self._noise is None else self._noise.select(places)
        return selected

    def _sequences(
        self, prompts: Sequence[str], settings: GenerationSettings, add_special_tokens: bool
    ) -> list[list[int]]:
        """Return the token ids of prompts, one for each row, behind which there is room for the replies."""
        self._check_rows(prompts)
        sequences = self._engine.encode(prompts, add_special_tokens)
        check_lengths(self._engine.adapted.model, sequences, prompts, room=settings.max_new_tokens)
        return sequences

    def _texts(self, tokens: list[list[int]], settings: GenerationSettings) -> list[str]:
        """Return what the tokens of replies say, up to the first stop string."""
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True) if tokens else []
        return [cut(text, settings.stop) for text in texts]

    def _in_groups(self, work: Callable[[Sequence[int], int], list[Result]], tokens: int) -> list[Result]:
        """Do work on the rows of as many particles at a time as fit, and put the results into the rows' order."""
        present = sorted(set(self._particles))

        def attempt(rows: int, most: int) -> list[Result]:
            found: dict[int, Result] = {}
            for start in range(0, len(present), most):
                group = set(present[start : start + most])
                places = [place for place, particle in enumerate(self._particles) if particle in group]
                found.update(zip(places, work(places, rows), strict=True))
                if len(group) < len(present):  # the next group needs the memory
                    for crowd in self._crowds.values():
                        crowd.forget()
            return [found[place] for place in range(len(self._particles))]

        return self._engine.run(attempt, tokens)

    def _keys(self) -> Tensor:
        """Return the streams of random numbers for the next turn [rows]."""
        if self._noise is None or len(self._noise.particles) != len(self._particles):
            raise ValueError(
                f"Expected noise for each of {len(self._particles)} rows where replies are sampled, but got "
                f"{'none' if self._noise is None else len(self._noise.particles)}."
            )
        return self._noise.keys(self._turns)

    def _check_rows(self, prompts: Sequence[str]) -> None:
        if len(prompts) != len(self._particles):
            raise InputError(
                f"Expected one prompt for each of the {len(self._particles)} examples of the call, but the objective "
                f"gave {len(prompts)}. Row i must be asked for example i."
            )


Key = TypeVar("Key")


def _remembered(
    memory: dict[Key, Result], keys: Sequence[Key], encode: Callable[[Sequence[Key]], Sequence[Result]]
) -> list[Result]:
    unknown = [key for key in dict.fromkeys(keys) if key not in memory]
    if len(memory) + len(unknown) > KEPT_PROMPTS:
        memory.clear()
        unknown = list(dict.fromkeys(keys))
    memory.update(zip(unknown, encode(unknown), strict=True))
    return [memory[key] for key in keys]
