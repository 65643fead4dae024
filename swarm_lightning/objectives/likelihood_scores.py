"""Objectives whose scores follow from likelihoods alone, so that those of whole tables come without any reply.

Where the likelihoods of all candidates are known together, an outcome for every pair of a candidate and an example
would take longer than the numbers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.guides import ChoiceLogShare, GoldLikelihood
from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.objectives.mean_log_likelihood import MeanLogLikelihood
from swarm_lightning.objectives.multiple_choice import MultipleChoice
from swarm_lightning.objectives.prompts import PromptTemplate
from swarm_lightning.objectives.protocol import Objective

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

# By the very class: an objective that builds on one of these may score something else.
KINDS = (ChoiceLogShare, GoldLikelihood, MeanLogLikelihood, MultipleChoice)


class ScoresLikelihoods(Protocol):
    """What asks for likelihoods, and scores nothing else; its `evaluate` gives the same scores, to the last bit."""

    @property
    def template(self) -> PromptTemplate:
        """How an example becomes a prompt."""
        ...

    def continuations(
        self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return the prompt of every example, and the texts that are compared behind it."""
        ...

    def scores(self, likelihoods: Likelihoods, examples: Sequence[Example]) -> "Tensor":
        """Score candidates.

        Args:
            likelihoods: Of M rows for every candidate, one candidate behind the other.
            examples: M of them, those of the rows of each candidate.

        Returns:
            The score of every row, float64.
        """
        ...


def by_likelihoods(objective: Objective) -> ScoresLikelihoods | None:
    """Return an objective as one that needs nothing but likelihoods; None if it needs replies, or nobody knows.

    Args:
        objective: What is asked.
    """
    generates = isinstance(objective, MultipleChoice) and objective.method != "likelihood"
    return cast("ScoresLikelihoods", objective) if type(objective) in KINDS and not generates else None
