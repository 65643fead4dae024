"""What one record of a dataset is to the rest of the package, and the two splits that a search works with.

Everything that reads data makes these, and everything that asks a model takes these. The order of the examples is
part of the data: column m of a score table belongs to example m of its split.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from swarm_lightning.data.notices import Notice


@dataclass(frozen=True)
class Example:
    """One question to a model, with what its reply is scored against.

    Attributes:
        question: The question, or the prompt of an open record.
        answer: The right answer: a label of `choices`, or the text of an exact match; None for open prompts.
        choices: Label -> text in their order, mostly `{"A": ..., "B": ...}`; None without choices.
        identifier: The id of the record, or its index in its source. Ids need not be unique: one of the public files
            gives the same id to 200 records.
        in_context_prompt: Solved examples or instructions that stand before the question.
        extras: Further columns of the record, for prompt templates and objectives that want them.
        task: The name of the task that it belongs to, where a search has several; empty otherwise.
    """

    question: str
    answer: str | None = None
    choices: Mapping[str, str] | None = None
    identifier: str = ""
    in_context_prompt: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 in hex over the content; the same in every process, and wherever the example stands."""
        return hashlib.sha256(json.dumps(_content(self), default=_stable_text).encode()).hexdigest()


@dataclass(frozen=True)
class ExampleSplits:
    """The validation split, which guides the search, and the test split, which is held back.

    Attributes:
        name: Name of the dataset.
        validation: Examples that the search sees.
        test: Examples that only the final test sees.
        notices: What the reader noticed on the way, such as records it left out.
    """

    name: str
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    notices: tuple[Notice, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 in hex over the content of both splits in their order; the same in every process.

        The name and the notices do not count, only what a model could be asked and scored by.

        >>> one, other = Example("1 + 1?", "2"), Example("1 + 2?", "3")
        >>> ExampleSplits("a", (one,), (other,)).fingerprint == ExampleSplits("b", (one,), (other,)).fingerprint
        True
        >>> ExampleSplits("a", (one,), (other,)).fingerprint == ExampleSplits("a", (other,), (one,)).fingerprint
        False
        """
        content = [[_content(example) for example in split] for split in (self.validation, self.test)]
        return hashlib.sha256(json.dumps(content, default=_stable_text).encode()).hexdigest()


def _content(example: Example) -> list[Any]:
    # Choices and extras as lists of pairs: the order of choices is seen by the model, that of extras is not.
    choices = None if example.choices is None else list(example.choices.items())
    extras = sorted(example.extras.items(), key=lambda item: item[0])
    content = [example.question, example.answer, choices, example.identifier, example.in_context_prompt, extras]
    return [*content, example.task] if example.task else content


def _stable_text(value: object) -> str:
    # Objects whose repr holds an address (images, say) would change the fingerprint from process to process.
    text = value.hex() if isinstance(value, bytes) else str(value)
    return type(value).__qualname__ if " at 0x" in text else text
