"""What most objectives have in common: an example becomes a prompt, and the model replies to it.

`Prompts` knows how an example is put to the model, and `Asks` also how the reply is generated. An objective that builds
on one of them has `check` and `prompt`, takes its settings beside its own ones, and says itself how replies are scored.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from swarm_lightning.data.examples import Example
from swarm_lightning.objectives.generation_settings import GenerationSettings
from swarm_lightning.objectives.prompts import QUESTION_TEMPLATE, PromptTemplate
from swarm_lightning.objectives.protocol import LanguageModel, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Prompts:
    """Puts examples into prompts.

    Attributes:
        template: How an example is put to the model.
    """

    def __init__(
        self,
        template: str = QUESTION_TEMPLATE,
        chat: bool = False,
        system: str | None = None,
        in_context_prompt: str | None = None,
        chat_template: str | None = None,
        date: str | None = None,
    ) -> None:
        r"""Set the prompt.

        Args:
            template: Prompt with placeholders in braces.
            chat: Whether the prompt becomes the user's turn of the tokenizer's chat template.
            system: System turn of the chat template.
            in_context_prompt: Solved examples or instructions that stand before every prompt, in place of those of the
                dataset; an empty text for none, null for those of the dataset.
            chat_template: Chat template in Jinja, or the name of one of the tokenizer's where it has several; null for
                the tokenizer's default.
            date: Day that a chat template writes which tells the date; null for 2024-07-26. It stands still, so that
                the same prompts are asked on any day.

        Raises:
            InputError: If a value can't be used.
        """
        self.template = PromptTemplate(template, chat, system, in_context_prompt, chat_template, date)

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse examples whose prompt can't be made.

        Args:
            examples: What will be asked.
            tokenizer: The base model's.

        Raises:
            InputError: If an example can't be served.
        """
        self.template.check(examples, tokenizer)

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees for an example."""
        return self.template.render(example, tokenizer)


class Asks(Prompts):
    """Puts examples to a model, which replies.

    Attributes:
        bounds: The lowest and the highest score of an example; each objective has its own.
        settings: How replies are generated.
    """

    bounds: tuple[float, float]

    def __init__(
        self,
        template: str = QUESTION_TEMPLATE,
        max_new_tokens: int = 10,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        **prompt: Any,
    ) -> None:
        """Set the prompt and how replies are generated.

        Args:
            template: Prompt with placeholders in braces.
            max_new_tokens: The most tokens of a reply.
            stop: Strings that end a reply; it is cut before the first of them.
            temperature: 0 for the most likely tokens; above 0, logits are divided by it and tokens are drawn, by noise
                that belongs to the particle and the example.
            top_p: With a temperature, draw from the most likely tokens that together have at least this probability.
            top_k: With a temperature, draw from so many most likely tokens; null for all.
            **prompt: See `Prompts`.

        Raises:
            InputError: If a value can't be used.
        """
        super().__init__(template, **prompt)
        self.settings = GenerationSettings(max_new_tokens, stop, temperature, top_p, top_k)

    def ask(
        self,
        examples: Sequence[Example],
        model: LanguageModel,
        settled: Callable[[str, Example], bool] | None = None,
    ) -> list[str]:
        """Put the examples to a model and return its replies; see `PromptTemplate.ask`."""
        return self.template.ask(examples, model, self.settings, settled)


class Unscored:
    """Asks what an objective asks and scores nothing, for predictions: every reply gets the same score."""

    def __init__(self, asking: Asks) -> None:
        """Take what is asked.

        Args:
            asking: The objective.
        """
        self.bounds = asking.bounds
        self._score = next(score for score in (*asking.bounds, 0.0) if math.isfinite(score))
        self._asking = asking

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse examples whose prompt can't be made."""
        self._asking.template.check(examples, tokenizer)

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees for an example."""
        return self._asking.prompt(example, tokenizer)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Return the replies of a model, one per example."""
        return [Outcome(reply, None, self._score) for reply in self._asking.ask(examples, model)]
