"""Score tables at once: where the likelihoods of all candidates are known together, nothing is left to choose.

A runner may know what any candidate makes of a text as soon as it has read the text once, as that of token swarms does.
A pair of a candidate and an example costs nothing then but arithmetic, so that no question is worth leaving out, and
none is worth writing down before the whole is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.objective_call import BROKEN
from swarm_lightning.objectives.likelihood_scores import ScoresLikelihoods, by_likelihoods
from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.objectives.protocol import HasTasks, Objective
from swarm_lightning.objectives.utility import each_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts whose likelihoods are asked; known again by their identity.

    Attributes:
        prompts: M prompts.
        continuations: For every prompt the texts that may follow.
        add_special_tokens: Whether the tokenizer adds its special tokens to prompts.
    """

    prompts: Sequence[str]
    continuations: Sequence[tuple[str, ...]]
    add_special_tokens: bool


@runtime_checkable
class KnowsLikelihoods(Protocol):
    """A session that reads a text once for all candidates; optional, beside `Session`."""

    def likelihoods(self, candidates: Sequence[int], texts: Texts) -> Likelihoods:
        """Return the likelihoods of texts.

        Args:
            candidates: P of those that were taken up.
            texts: What is asked of each.

        Returns:
            P times M rows, one candidate behind the other.
        """
        ...


@dataclass(frozen=True)
class Part:
    """Some of the examples of an evaluation, of one task.

    Attributes:
        places: Which they are.
        examples: They themselves.
        objective: What they are scored by.
        texts: What is asked.
    """

    places: list[int]
    examples: list[Example]
    objective: ScoresLikelihoods
    texts: Texts

    def scores(self, session: KnowsLikelihoods, candidates: Sequence[int]) -> Tensor:
        """Score candidates [P, examples of the part], -inf where a likelihood is no number."""
        found = session.likelihoods(candidates, self.texts)
        scores = self.objective.scores(found, self.examples)
        scores[found.broken()] = BROKEN
        return scores.where(scores.isfinite(), BROKEN).view(len(candidates), -1)


def scored_at_once(objective: Objective, session: object) -> bool:
    """Tell whether a session knows all that an objective needs as soon as every text is read once.

    Args:
        objective: What is asked, of one task or of several.
        session: A runner's.
    """
    return isinstance(session, KnowsLikelihoods) and all(by_likelihoods(one) is not None for one in each_of(objective))


def divide(
    objective: Objective,
    examples: Sequence[Example],
    lots: Sequence[Sequence[int]],
    tokenizer: "PreTrainedTokenizerBase",
) -> list[Part]:
    """Prepare what is asked.

    Args:
        objective: One for which `scored_at_once` is true.
        examples: Of the evaluation.
        lots: Places of examples that are asked together, each lot of one task.
        tokenizer: The base's.
    """
    tasks, parts = objective.tasks if isinstance(objective, HasTasks) else {}, []
    for places in lots:
        some = [examples[place] for place in places]
        scoring = by_likelihoods(tasks.get(some[0].task, objective))
        if scoring is None:
            raise ValueError("Expected an objective that needs nothing but likelihoods.")
        prompts, continuations = scoring.continuations(some, tokenizer)
        texts = Texts(prompts, continuations, scoring.template.add_special_tokens)
        parts.append(Part(list(places), some, scoring, texts))
    return parts
