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
    """Turns examples into prompts.

    Attributes:
        template: How an example becomes a prompt.
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
            chat: Whether the prompt becomes the user turn of the tokenizer's chat template.
            system: System turn of the chat template; needs chat.
            in_context_prompt: Solved examples or instructions placed before every prompt, replacing those of the
                dataset; an empty string: none; null: those of the dataset.
            chat_template: Chat template in Jinja, or the name of one of the tokenizer's templates; null: the
                tokenizer's default. Needs chat.
            date: Date (YYYY-MM-DD) for chat templates that write today's date; null: 2024-07-26. It is fixed so that
                the prompts are the same on any day.

        Raises:
            InputError: If a value can't be used.
        """
        self.template = PromptTemplate(template, chat, system, in_context_prompt, chat_template, date)

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse examples whose prompts can't be built.

        Args:
            examples: What will be asked.
            tokenizer: The base model's.

        Raises:
            InputError: If an example does not fit the template.
        """
        self.template.check(examples, tokenizer)

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees for an example."""
        return self.template.render(example, tokenizer)


class Asks(Prompts):
    """Turns examples into prompts and generates the replies.

    Attributes:
        bounds: Lowest and highest score of an example, set by each objective.
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
            max_new_tokens: Maximum number of tokens of a reply, >= 1.
            stop: Strings that end a reply; the reply is cut before the first of them.
            temperature: 0: greedy. Above 0: logits are divided by it and tokens are sampled, with noise that depends
                only on the particle and the example.
            top_p: When sampling, keep the smallest set of most likely tokens whose probabilities sum to at least this,
                in (0, 1]; 1: all.
            top_k: When sampling, keep this many of the most likely tokens, >= 1; null: all.
            **prompt: Prompt settings; see `Prompts`.

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
