"""The model that stays in memory, as objectives see it.

The same prompts come back for every particle and in every iteration, so what was tokenised and padded last is kept.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from swarm_lightning.evaluation.batches import Batch
from swarm_lightning.evaluation.generation import generate_replies, prompt_batches
from swarm_lightning.evaluation.likelihood import ContinuationBatches, continuation_batches, loglikelihoods_of
from swarm_lightning.objectives.protocol import GenerationSettings, Likelihood

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEPT_LAYOUTS = 8  # sets of prompts; validation, test and a few parts of a mixed objective at a time


class ResidentModel:
    """A causal language model and its tokenizer; follows the protocol `LanguageModel`."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        """Keep the model and the tokenizer; neither is changed."""
        self.model = model
        self.tokenizer = tokenizer
        self._prompts = lru_cache(KEPT_LAYOUTS)(self._lay_out_prompts)
        self._continuations = lru_cache(KEPT_LAYOUTS)(self._lay_out_continuations)

    def generate(
        self, prompts: Sequence[str], settings: GenerationSettings, add_special_tokens: bool = True
    ) -> list[str]:
        """Reply to every prompt; see `LanguageModel.generate`."""
        batches = self._prompts(tuple(prompts), settings, add_special_tokens, self.model.device)
        return generate_replies(self.model, self.tokenizer, batches, settings)

    def loglikelihood(
        self,
        prompts: Sequence[str],
        continuations: Sequence[Sequence[str]],
        batch_size: int,
        add_special_tokens: bool = True,
    ) -> list[list[Likelihood]]:
        """Measure how likely the continuations of every prompt are; see `LanguageModel.loglikelihood`."""
        texts = tuple(tuple(row) for row in continuations)
        laid_out = self._continuations(tuple(prompts), texts, batch_size, add_special_tokens, self.model.device)
        return loglikelihoods_of(self.model, laid_out)

    def _lay_out_prompts(
        self, prompts: tuple[str, ...], settings: GenerationSettings, add_special_tokens: bool, device: torch.device
    ) -> list[Batch]:
        # The device only tells one layout from another: the model may move between calls.
        return prompt_batches(self.model, self.tokenizer, prompts, settings, add_special_tokens)

    def _lay_out_continuations(
        self,
        prompts: tuple[str, ...],
        continuations: tuple[tuple[str, ...], ...],
        batch_size: int,
        add_special_tokens: bool,
        device: torch.device,
    ) -> ContinuationBatches:
        return continuation_batches(self.model, self.tokenizer, prompts, continuations, batch_size, add_special_tokens)
