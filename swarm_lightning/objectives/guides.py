"""Smooth guides: what a search can follow in place of a score of 0 or 1.

A right answer tells one bit, and 200 of them are a coarse and noisy number. How likely the model finds the right answer
rises before the answer turns right, and needs no generation. A guide asks the same examples with the same prompts as
its objective; what is reported, and what chooses at the end, stays the objective. That a guide ranks models as its
objective does has to be measured, not taken for granted.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.exact_match import ExactMatch
from swarm_lightning.objectives.judge_rating import JudgeRating
from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.objectives.mean_log_likelihood import LOWEST, MeanLogLikelihood, mean_logarithms, mean_scores
from swarm_lightning.objectives.means import harmonic_mean
from swarm_lightning.objectives.multi_task import MultiTask
from swarm_lightning.objectives.multiple_choice import MultipleChoice, all_most_likely, right_place
from swarm_lightning.objectives.prompts import PromptTemplate
from swarm_lightning.objectives.protocol import LanguageModel, Objective, Outcome
from swarm_lightning.objectives.reward_model import RewardModel
from swarm_lightning.objectives.safety import Safety
from swarm_lightning.objectives.utility import parts_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

FLOOR = 0.1  # probability that is added to that of a right answer, so that hopeless ones weigh little

Questions = TypeVar("Questions", MultipleChoice, ExactMatch)


class _AsksAs(Generic[Questions]):
    """Puts the questions of an objective as it does, and scores them by logarithms."""

    bounds: tuple[float, float] = (-math.inf, 0.0)

    def __init__(self, objective: Questions) -> None:
        """Take what is followed.

        Args:
            objective: How questions are put to the model.
        """
        self.objective: Questions = objective

    @property
    def template(self) -> PromptTemplate:
        """How an example becomes a prompt: as the objective's does."""
        return self.objective.template

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse what the objective can't serve."""
        self.objective.check(examples, tokenizer)

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees for an example."""
        return self.objective.prompt(example, tokenizer)


class ChoiceLogShare(_AsksAs[MultipleChoice]):
    """Score a multiple choice by the logarithm of the right choice's share among all choices, in nats.

    The share is the softmax over the choices' log-likelihoods after the prompt: of the letters, or with `method:
    likelihood` of what the objective compares, normalised in the same way. Guessing among four choices gives ln(1/4).
    A value that is NaN or below -1,000,000 counts as -1,000,000.
    """

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Measure the share of every right choice.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; its reply and answer are the letter of the choice with the largest share.
        """
        found = self.objective.likelihoods(examples, model)
        outcomes = []
        rows = zip(all_most_likely(found, self.objective.normalize), self.scores(found, examples).tolist(), strict=True)
        for example, (place, score) in zip(examples, rows, strict=True):
            letter = None if place is None else list(example.choices or {})[place]
            outcomes.append(Outcome(letter or "", letter, score))
        return outcomes

    def continuations(
        self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return the prompts, and every choice as it stands behind each; see `MultipleChoice.continuations`."""
        return self.objective.continuations(examples, tokenizer)

    def scores(self, likelihoods: Likelihoods, examples: Sequence[Example]) -> "Tensor":
        """Score the shares of right choices; see `ScoresLikelihoods`."""
        import torch

        asked = itertools.cycle([(len(example.choices or {}), right_place(example)) for example in examples])
        rows = zip(likelihoods.divided(self.objective.normalize).tolist(), asked, strict=False)
        return torch.tensor([log_share(values[:count], gold) for values, (count, gold) in rows], dtype=torch.float64)


class GoldLikelihood(_AsksAs[ExactMatch]):
    """Score an exact match by how likely the right answer is after the prompt: log((p + 0.1) / 1.1), in nats.

    p is the geometric mean of the probabilities of the answer's tokens. Without the 0.1, `FLOOR`, the answers that the
    model knows nothing of would weigh the most: a search would make them a little less unlikely, and pay for it with
    answers that are nearly right. `benchmarks/README.md` has what it gains.

    The answer is written as the model would write it: after a space, unless the prompt ends in white space or a chat
    template comes between. The whole gold answer counts, including its working if it has any. If replies usually have
    other text before the answer, the likelihood of the answer alone is less informative. A p that is NaN counts as 0.
    """

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Measure every right answer.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; its reply is the text that was measured, and nothing is put to a vote. Without a
            gold answer the score is the lowest.
        """
        prompts, continuations = self.continuations(examples, model.tokenizer)
        found = model.loglikelihood(prompts, continuations, add_special_tokens=self.template.add_special_tokens)
        means = zip(examples, mean_logarithms(found), strict=True)
        return [Outcome(gold_of(example), None, softened(mean)) for example, mean in means]

    def scores(self, likelihoods: Likelihoods, examples: Sequence[Example]) -> "Tensor":
        """Score right answers by the log-probabilities of their tokens; see `ScoresLikelihoods`."""
        import torch

        return torch.tensor([softened(mean) for mean in mean_scores(likelihoods).tolist()], dtype=torch.float64)

    def continuations(
        self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return the prompts, and the right answer as it stands behind each; none where there is no answer.

        Args:
            examples: What to ask; examples may repeat.
            tokenizer: The base model's.
        """
        template = self.template
        prompts = template.render_all(examples, tokenizer)
        behind: list[tuple[str, ...]] = [
            (template.continued(prompt, text),) if text else ()
            for prompt, text in zip(prompts, map(gold_of, examples), strict=True)
        ]
        return prompts, behind


class HarmonicGuide(MultiTask):
    """Combine the guides of several tasks by the harmonic mean of probabilities.

    Logarithms have no harmonic mean: a task whose guide is one counts with exp(its mean), a geometric mean over its
    examples.
    """

    def __init__(self, tasks: Mapping[str, Objective]) -> None:
        """Take the guides.

        Args:
            tasks: The guide of every task by its name.
        """
        super().__init__(dict(tasks), combine="mean")

    def utility(self, scores: Sequence[float], examples: Sequence[Example]) -> float:
        """Combine the utilities of the tasks; it never falls where a score rises.

        Args:
            scores: One per example.
            examples: What was asked.

        Returns:
            The utility of one particle.
        """
        parts = parts_of(self, scores, examples)
        return harmonic_mean(
            [math.exp(value) if self.tasks[task].bounds[0] < 0 else value for task, value in parts.items()]
        )


# By the very class: an objective that builds on one of these may score something else.
GUIDES: Mapping[type, Callable[[Any], Objective]] = {
    MultipleChoice: ChoiceLogShare,
    ExactMatch: GoldLikelihood,
    MeanLogLikelihood: lambda objective: objective,
    JudgeRating: lambda objective: objective,
    RewardModel: lambda objective: objective,
    Safety: lambda objective: objective,
    MultiTask: lambda objective: _of_tasks(objective),
}


def guide_of(objective: Objective) -> Objective:
    """Return the smooth guide of an objective: itself where its own score is smooth already.

    Args:
        objective: What is reported in the end.

    Raises:
        InputError: If it has none.
    """
    make = GUIDES.get(type(objective))
    if make is None:
        known = ", ".join(kind.__name__ for kind in GUIDES)
        raise InputError(
            f"Expected an objective with a smooth guide ({known}), but {type(objective).__name__} has none: nothing "
            "says which text a better model would find likelier. Follow the objective itself (--model.guide objective)."
        )
    return make(objective)


def softens(objective: object) -> bool:
    """Return whether `FLOOR` is in the scores of an objective's guide: that of exact matches, alone or among tasks.

    Args:
        objective: What is reported in the end.
    """
    return type(objective) is ExactMatch or (
        isinstance(objective, MultiTask) and any(map(softens, objective.tasks.values()))
    )


def gold_of(example: Example) -> str:
    """Return the right answer of an example as it is measured; empty where there is none."""
    return (example.answer or "").strip()


def softened(mean: float) -> float:
    """Return log((p + FLOOR) / (1 + FLOOR)) of the logarithm of p.

    Args:
        mean: The logarithm of p, <= 0: a mean of logarithms.

    >>> [round(softened(math.log(p)), 3) for p in (1.0, 0.5, 0.01, 1e-9)]
    [0.0, -0.606, -2.303, -2.398]
    """
    return math.log((math.exp(mean) + FLOOR) / (1 + FLOOR))


def log_share(values: Sequence[float], gold: int | None) -> float:
    """Return the logarithm of one continuation's share among several, by the softmax over their log-likelihoods.

    Args:
        values: The log-likelihood of every continuation, divided as the objective divides.
        gold: The place of that continuation; None where there is none.

    Returns:
        A number between `LOWEST` and 0, which is `LOWEST` where it would be none.

    >>> round(math.exp(log_share([math.log(0.3), math.log(0.1)], 0)), 6)
    0.75
    """
    if gold is None:
        return LOWEST
    highest = max(values)
    share = values[gold] - highest - math.log(math.fsum(math.exp(value - highest) for value in values))
    return min(max(share, LOWEST), 0.0) if math.isfinite(share) else LOWEST


def _of_tasks(objective: MultiTask) -> Objective:
    tasks = {name: guide_of(part) for name, part in objective.tasks.items()}
    if objective.combine == "harmonic_mean":
        return HarmonicGuide(tasks)
    return MultiTask(tasks, objective.combine, None if objective.weights is None else dict(objective.weights))
