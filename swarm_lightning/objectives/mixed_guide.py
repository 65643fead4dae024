"""A guide and its objective in one number: what a search can follow where a guide alone is not to be trusted.

    share (g - mean of g) / spread of g + (1 - share) (o - mean of o) / spread of o

Means and spreads are those of the first candidates of a search, so that nats and points count alike, and 0 is what a
first candidate scores. Example by example, and so for what is a mean over examples only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.protocol import CombinesScores, HasTasks, LanguageModel, Objective, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Scale:
    """What makes one number comparable with another.

    Attributes:
        mean: Among the first candidates.
        spread: Standard deviation among them, > 0.
    """

    mean: float
    spread: float

    def of(self, score: float) -> float:
        """Return how many standard deviations a score lies above the mean.

        >>> Scale(0.5, 0.25).of(1.0)
        2.0
        """
        return (score - self.mean) / self.spread


class MixedGuide:
    """Score by a guide and by its objective; an example costs what both cost.

    Attributes:
        bounds: The lowest and the highest score that one example can get.
    """

    def __init__(
        self, guide: Objective, objective: Objective, of_guide: Scale, of_objective: Scale, share: float
    ) -> None:
        """Take both.

        Args:
            guide: Asks the same prompts as the objective.
            objective: What is reported.
            of_guide: Of the guide.
            of_objective: Of the objective.
            share: Weight of the guide, in (0, 1).
        """
        self.guide, self.objective = guide, objective
        self.of_guide, self.of_objective, self.share = of_guide, of_objective, share
        low, high = (self.mix(*scores) for scores in zip(guide.bounds, objective.bounds, strict=True))
        self.bounds: tuple[float, float] = (low, high)

    def mix(self, by_guide: float, by_objective: float) -> float:
        """Return what the two scores of an example make together."""
        return self.share * self.of_guide.of(by_guide) + (1 - self.share) * self.of_objective.of(by_objective)

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse what either can't serve."""
        self.guide.check(examples, tokenizer)
        self.objective.check(examples, tokenizer)

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees for an example."""
        return self.objective.prompt(example, tokenizer)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Ask both.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; reply and answer are the objective's.
        """
        guided, reported = self.guide.evaluate(examples, model), self.objective.evaluate(examples, model)
        return [
            Outcome(other.reply, other.answer, self.mix(one.score, other.score))
            for one, other in zip(guided, reported, strict=True)
        ]


def mixes(guide: Objective, objective: Objective) -> bool:
    """Say whether a guide and its objective can be mixed: whether the utilities of both are means over examples."""
    return not any(isinstance(one, CombinesScores | HasTasks) for one in (guide, objective))
