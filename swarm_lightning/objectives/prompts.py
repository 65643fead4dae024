"""Turns an example into the text that the model sees.

A template names what it wants in braces: `{question}`, `{choices}`, `{in_context_prompt}` and the further columns of
the record. What is filled in is never read as a template, so braces in the data are safe. On request the filled text
becomes the user's turn of the tokenizer's chat template. What the reply means is left to the objectives.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from swarm_lightning.data.chat_templates import DATE, ChatTemplate, check_date
from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.protocol import GenerationSettings, LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION_TEMPLATE = "Question: {question}\nAnswer:"
CHOICES_TEMPLATE = "Question: {question}\n{choices}\nThe answer is"

# `{{name}}` stands for the text `{name}`; any other brace is taken as it is, so that JSON and LaTeX need no care.
_PLACEHOLDER = re.compile(r"\{\{(?P<literal>[A-Za-z_]\w*)\}\}|\{(?P<name>[A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class PromptTemplate:
    r"""How an example becomes a prompt.

    The in-context prompt is placed before the text, with a blank line between, unless the template names
    `{in_context_prompt}` itself.

    Attributes:
        template: Text with placeholders in braces.
        chat: Whether the text becomes the user turn of the tokenizer's chat template.
        system: The system turn; needs `chat`.
        in_context_prompt: Text placed before every question, replacing that of the example; None: that of the example.
        chat_template: Chat template in Jinja, or the name of one of the tokenizer's; None: the tokenizer's default.
            Needs `chat`.
        date: Date for chat templates that write today's date, such as 2024-07-26; None: that date. Needs `chat`.

    >>> PromptTemplate("Question: {question}\nAnswer:").fill(Example(question="What is {x}?"))
    'Question: What is {x}?\nAnswer:'
    """

    template: str = QUESTION_TEMPLATE
    chat: bool = False
    system: str | None = None
    in_context_prompt: str | None = None
    chat_template: str | None = None
    date: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without an example."""
        if not self._names():
            raise InputError(
                f"Expected a prompt template with a placeholder such as {{question}}, but got {self.template!r}: every "
                "example would get the same prompt. Name in braces what is to be filled in."
            )
        if self.system is not None and not self.chat:
            raise InputError(
                "Expected chat: true with a system prompt, because the system turn is part of the chat template, but "
                "chat is off. Turn it on, or write the system prompt into the template."
            )
        for name, value in (("chat_template", self.chat_template), ("date", self.date)):
            if value is not None and not self.chat:
                raise InputError(f"Expected chat: true with {name}, but chat is off. Turn it on, or leave {name} out.")
        check_date(self.date)

    @property
    def add_special_tokens(self) -> bool:
        """Whether the tokenizer is to add its special tokens: not where a chat template has put them in."""
        return not self.chat

    def fill(self, example: Example) -> str:
        """Return the template with an example's values in it, before any chat template.

        Args:
            example: What to fill in.

        Returns:
            The text.

        Raises:
            InputError: If the template names something that the example does not have.
        """
        if self.in_context_prompt is not None:
            example = replace(example, in_context_prompt=self.in_context_prompt)
        values = _values(example)

        def value(match: re.Match[str]) -> str:
            if match["literal"] is not None:
                return "{" + match["literal"] + "}"
            if match["name"] not in values:
                raise InputError(
                    f"Expected the prompt template to name what example {example.identifier!r} has "
                    f"({', '.join(values)}), but it names {{{match['name']}}} in {self.template!r}. Correct the "
                    f"template, or write {{{{{match['name']}}}}} to keep braces in the text."
                )
            return values[match["name"]]

        text = _PLACEHOLDER.sub(value, self.template)
        if example.in_context_prompt and "in_context_prompt" not in self._names():
            return f"{example.in_context_prompt}\n\n{text}"
        return text

    def render(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees.

        Args:
            example: What to ask.
            tokenizer: Its chat template is used where `chat` is on.

        Returns:
            The prompt.

        Raises:
            InputError: If the example or the tokenizer lacks what the template needs.
        """
        text = self.fill(example)
        return self._chat(tokenizer).write(self._turns(text), generation_prompt=True) if self.chat else text

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Raise an InputError if any example can't be put into the template, or a chat template is not to be used."""
        for example in examples:
            self.render(example, tokenizer)
        if self.chat and examples:
            chat = self._chat(tokenizer)
            chat.check_certain(self._turns(self.fill(examples[0])))
            if chat.tells_time:
                from lightning.pytorch.utilities.rank_zero import rank_zero_info

                rank_zero_info(
                    f"The chat template writes the date: it is {self.date or DATE} on any day, so that the prompts "
                    "stay the same. Another one is set by the objective's date."
                )

    def render_all(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> list[str]:
        """Return the texts that the model sees; an example that stands several times is filled in once.

        Args:
            examples: What to ask.
            tokenizer: Its chat template is used where `chat` is on.
        """
        different = {id(example): example for example in examples}
        texts = {key: self.render(example, tokenizer) for key, example in different.items()}
        return [texts[id(example)] for example in examples]

    def continued(self, prompt: str, answer: str) -> str:
        """Return an answer as it stands behind a prompt.

        After a line break or a space, as at the end of most chat templates, it follows without another one.

        Args:
            prompt: As `render` returns it.
            answer: What the model is to say.

        >>> PromptTemplate().continued("Answer:", "19"), PromptTemplate().continued("Answer: ", "19")
        (' 19', '19')
        """
        return answer if self.chat or prompt[-1:].isspace() else f" {answer}"

    def ask(
        self,
        examples: Sequence[Example],
        model: LanguageModel,
        settings: GenerationSettings,
        settled: Callable[[str, Example], bool] | None = None,
    ) -> list[str]:
        """Put the examples to a model and return its replies, one per example.

        Args:
            examples: What to ask.
            model: What answers.
            settings: How replies are generated.
            settled: Given the beginning of a reply and its example, tells whether the score is the same however the
                reply goes on: then it may end there.

        Returns:
            One reply per example, in order.
        """
        prompts = self.render_all(examples, model.tokenizer)
        known: dict[tuple[int, str], bool] = {}  # many particles begin their replies to an example alike

        def decided(row: int, text: str) -> bool:
            assert settled is not None
            key = (id(examples[row]), text)
            if key not in known:
                known[key] = settled(text, examples[row])
            return known[key]

        return model.generate(prompts, settings, self.add_special_tokens, decided=None if settled is None else decided)

    def _chat(self, tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate:
        advice = "Leave system out and write it into the template" if self.system is not None else "Set chat: false"
        return ChatTemplate(
            tokenizer, self.chat_template, self.date, advice=f"{advice}, or give another one as chat_template."
        )

    def _turns(self, text: str) -> list[dict[str, str]]:
        turns = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*turns, {"role": "user", "content": text}]

    def _names(self) -> set[str]:
        return {match["name"] for match in _PLACEHOLDER.finditer(self.template) if match["name"] is not None}


def list_choices(choices: Mapping[str, str]) -> str:
    r"""Return the choices as they stand in a prompt, one a line.

    >>> list_choices({"A": "red", "B": "blue"})
    'A: red\nB: blue'
    """
    return "\n".join(f"{letter}: {text}" for letter, text in choices.items())


def _values(example: Example) -> dict[str, str]:
    values = {"question": example.question, "in_context_prompt": example.in_context_prompt}
    if example.choices is not None:
        values["choices"] = list_choices(example.choices)
    return values | {name: str(value) for name, value in example.extras.items() if name not in values}
