"""How likely a model finds given texts: the utility for taking on a style or a domain.

Nothing is generated: each example brings a prompt and the text that should follow it.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.asking import Prompts
from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.objectives.protocol import LanguageModel, Likelihood, Objective, Outcome

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

TEXT_TEMPLATE = "{question}"
# For a text whose likelihood is no number, or lower: no working model comes near it (a guess at random among 250,000
# tokens scores -12.4). It is finite, so that a broken particle is the worst of all, and is pushed away from.
LOWEST = -1e6


class MeanLogLikelihood(Prompts, Objective):
    """Score a given text by the mean log-probability of its tokens, in nats.

    The scores of working models lie between about -12 (a guess at random) and 0 (certainty), but they are unbounded
    below, and `bounds` says so: every particle is asked everything. A score that is no number, as that of a particle
    with broken weights, counts as -1,000,000, and so does a lower one. The end of the text is not scored, only its
    tokens.
    """

    bounds: tuple[float, float] = (-math.inf, 0.0)

    def __init__(
        self,
        continuation: str | None = None,
        separator: str = " ",
        template: str | None = None,
        **prompt: Any,
    ) -> None:
        """Set which text is scored, and after which prompt.

        Args:
            continuation: Column with the text; null: the answer of the example.
            separator: Text between prompt and continuation if neither has white space there and no chat template comes
                between; use an empty string for languages without spaces.
            template: Prompt with placeholders in braces; null: `{question}`, the question or prompt alone.
            **prompt: Prompt settings; see `Prompts`. With chat, the text is the assistant's reply.

        Raises:
            InputError: If a value can't be used.
        """
        super().__init__(TEXT_TEMPLATE if template is None else template, **prompt)
        self.continuation = continuation
        self.separator = separator

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse examples without a text to measure, and prompts that can't be made."""
        for example in examples:
            self.text(example)
        super().check(examples, tokenizer)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Measure how likely a model finds the texts.

        Args:
            examples: What to measure; examples may repeat.
            model: What measures.

        Returns:
            One outcome per example; its reply is the text that was measured, and nothing is put to a vote.

        Raises:
            InputError: If an example has no text to measure.
        """
        prompts, continuations = self.continuations(examples, model.tokenizer)
        found = model.loglikelihood(prompts, continuations, add_special_tokens=self.template.add_special_tokens)
        scores = zip(examples, mean_logarithms(found), strict=True)
        return [Outcome(self.text(example), None, score) for example, score in scores]

    def continuations(
        self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return the prompts, and the text that is measured as it stands behind each.

        Args:
            examples: What to measure; examples may repeat.
            tokenizer: The base model's.

        Raises:
            InputError: If an example has no text to measure.
        """
        prompts = self.template.render_all(examples, tokenizer)
        return prompts, [
            (self._after(prompt, self.text(example)),) for prompt, example in zip(prompts, examples, strict=True)
        ]

    def scores(self, likelihoods: Likelihoods, examples: Sequence[Example]) -> "Tensor":
        """Score texts by the mean log-probabilities of their tokens; see `ScoresLikelihoods`."""
        return mean_scores(likelihoods)

    def text(self, example: Example) -> str:
        """Return the text of an example that is measured.

        Args:
            example: With an answer, or with the column that was named.

        Raises:
            InputError: If there is none.
        """
        value = example.answer if self.continuation is None else example.extras.get(self.continuation)
        if value is None or not str(value).strip():
            column = "answer" if self.continuation is None else f"{self.continuation!r} in a column of that name"
            others = f" Its other columns are {', '.join(example.extras)}." if example.extras else ""
            raise InputError(
                f"Expected a text to measure in every example ({column}), but example {example.identifier!r} "
                f"({example.question[:60]!r}) has {value!r}.{others} Name the column that holds it with "
                "objective.init_args.continuation, or leave the example out; this objective writes no text itself."
            )
        return str(value)

    def _after(self, prompt: str, text: str) -> str:
        apart = self.template.chat or prompt[-1:].isspace() or text[:1].isspace()
        return text if apart else self.separator + text


def mean_logarithms(likelihoods: Sequence[Sequence[Likelihood]]) -> list[float]:
    """Return the mean log-probabilities of texts' tokens, and the lowest score there is where one is no number.

    Args:
        likelihoods: Of one text in every row, or of none.

    Returns:
        Finite numbers between `LOWEST` and 0, one a row; `LOWEST` without a text.

    >>> mean_logarithms([[Likelihood(-3.0, tokens=2, characters=9)], [Likelihood(math.nan, 2, 9)], []])
    [-1.5, -1000000.0, -1000000.0]
    """
    return cast("list[float]", mean_scores(Likelihoods.of(likelihoods)).tolist())


def mean_scores(likelihoods: Likelihoods) -> "Tensor":
    """Return the same as a tensor [R] float64."""
    means = likelihoods.divided("tokens")[:, 0]
    return means.clamp(LOWEST, 0.0).where(means.isfinite(), LOWEST)
