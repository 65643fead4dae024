"""Particles and examples to a score table.

One model stays in memory and becomes one particle after the other. What is asked and how a reply is scored is the
objective's; which particles are due, and what follows from the scores, is the caller's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.resident_model import ResidentModel
from swarm_lightning.evaluation.tokens import encode_prompts
from swarm_lightning.objectives.protocol import Objective, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.experts.adapted import AdaptedModel


@dataclass(frozen=True)
class Evaluation:
    """What P particles made of M examples.

    Attributes:
        scores: The score table [P, M], float64 on the CPU; NaN where nothing was asked.
        outcomes: Replies, answers and scores [P][M]; None where nothing was asked.
    """

    scores: Tensor
    outcomes: list[list[Outcome | None]]

    @property
    def utilities(self) -> Tensor:
        """Mean score of every particle over the examples it was asked [P], float64; NaN where there was none."""
        return self.scores.nanmean(dim=1)

    @property
    def evaluated(self) -> int:
        """Number of (particle, example) pairs that were asked."""
        return int((~self.scores.isnan()).sum())


class Evaluator:
    """Asks an objective's questions of particles.

    Attributes:
        model: The model as the objective sees it.
        objective: What is asked, and how it is scored.
    """

    def __init__(self, adapted: "AdaptedModel", tokenizer: "PreTrainedTokenizerBase", objective: Objective) -> None:
        """Keep the parts; the model is used in place.

        Args:
            adapted: The resident base with one set of LoRA weights.
            tokenizer: The base model's.
            objective: What to ask and how to score.
        """
        self.model = ResidentModel(adapted.model, tokenizer)
        self.objective = objective
        self._adapted = adapted

    def check_lengths(self, examples: Sequence[Example]) -> None:
        """Refuse examples whose prompt alone fills the model, all at once and before any of them is asked.

        Args:
            examples: What will be asked. Whether a reply or a choice fits as well is seen when it is asked.

        Raises:
            InputError: If a prompt leaves no room for a single token.
        """
        config = self._adapted.model.config.get_text_config()
        positions = getattr(config, "max_position_embeddings", None)
        if positions is None:
            return
        tokenizer = self.model.tokenizer
        prompts = [self.objective.prompt(example, tokenizer) for example in examples]
        lengths = [len(sequence) for sequence in encode_prompts(tokenizer, prompts, True)]
        too_long = [example for example, length in zip(examples, lengths, strict=True) if length >= positions]
        if too_long:
            named = ", ".join(repr(example.identifier) for example in too_long[:10])
            raise InputError(
                f"Expected prompts of fewer than {positions} tokens, the model's positions, but those of "
                f"{len(too_long)} of {len(examples)} examples are longer, up to {max(lengths)} (id {named}). Shorten "
                "the template or the in-context prompt, leave these examples out, or use another base."
            )

    def evaluate(self, positions: Tensor, examples: Sequence[Example], due: Tensor | None = None) -> Evaluation:
        """Score particles.

        Args:
            positions: Weights of P particles [P, D].
            examples: What to ask every particle.
            due: Which particles to ask [P], bool; all where not given.

        Returns:
            The score table and the outcomes; NaN and None for particles that are not due.

        Raises:
            ValueError: If the shapes do not fit each other.
            InputError: If the objective can't serve an example, or gives a score outside its bounds.
        """
        if positions.dim() != 2 or (due is not None and due.shape != positions.shape[:1]):
            raise ValueError(
                f"Expected positions [P, D] and due [P], but got {tuple(positions.shape)} and "
                f"{None if due is None else tuple(due.shape)}."
            )
        asked = [True] * len(positions) if due is None else due.tolist()
        outcomes: list[list[Outcome | None]] = []
        for position, is_due in zip(positions, asked, strict=True):
            if is_due:
                self._adapted.load(position)
                outcomes.append(self._ask(examples))
            else:
                outcomes.append([None] * len(examples))
        return Evaluation(_score_table(outcomes, len(examples)), outcomes)

    def evaluate_base(self, examples: Sequence[Example]) -> Evaluation:
        """Score the base model without any expert, as one particle.

        Args:
            examples: What to ask.

        Returns:
            An evaluation with P = 1.
        """
        with self._adapted.base_only():
            outcomes = [self._ask(examples)]
        return Evaluation(_score_table(outcomes, len(examples)), outcomes)

    def _ask(self, examples: Sequence[Example]) -> list[Outcome | None]:
        self._adapted.model.eval()
        with torch.inference_mode():
            outcomes = self.objective.evaluate(examples, self.model)
        name = type(self.objective).__name__
        if len(outcomes) != len(examples):
            raise InputError(
                f"Expected one outcome per example from {name}, but got {len(outcomes)} for {len(examples)} examples."
            )
        lowest, highest = self.objective.bounds
        for example, outcome in zip(examples, outcomes, strict=True):
            if math.isnan(outcome.score) or not lowest <= outcome.score <= highest:
                raise InputError(
                    f"Expected scores between {lowest} and {highest} from {name}, as its bounds say, but got "
                    f"{outcome.score} for example {example.identifier!r}. Give the lowest score where a reply can't be "
                    "scored, or widen the bounds."
                )
        return list(outcomes)


def _score_table(outcomes: Sequence[Sequence[Outcome | None]], examples: int) -> Tensor:
    scores = [[math.nan if outcome is None else float(outcome.score) for outcome in row] for row in outcomes]
    return torch.tensor(scores, dtype=torch.float64).reshape(len(outcomes), examples)
