"""Which column of a dataset holds what: the `columns` mapping of the configuration, with its defaults.

Every part of an example has a column of its own name unless the mapping names another one.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm_lightning.errors import InputError

PARTS = ("question", "prompt", "answer", "choices", "id", "icl_prompt")


@dataclass(frozen=True)
class Columns:
    """The column of each part of an example.

    Attributes:
        question: Column of the question; None if there is none.
        prompt: Column of an open prompt, read where there is no question.
        answer: Column of the right answer.
        choices: Column of the choices, or one column for each choice.
        identifier: Column of the id.
        in_context_prompt: Column of what stands before the question.
        required: The columns that the mapping named for question, prompt, answer or choices.
    """

    question: str | None = "question"
    prompt: str | None = "prompt"
    answer: str | None = "answer"
    choices: str | Sequence[str] | None = "choices"
    identifier: str | None = "id"
    in_context_prompt: str | None = "icl_prompt"
    required: tuple[str, ...] = ()

    @property
    def named(self) -> set[str]:
        """All columns that hold a part of an example; any other column is an extra."""
        single = {self.question, self.prompt, self.answer, self.identifier, self.in_context_prompt}
        choices = {self.choices} if self.choices is None or isinstance(self.choices, str) else set(self.choices)
        return {column for column in single | choices if column is not None}


def read_columns(mapping: Mapping[str, str | list[str] | None] | None) -> Columns:
    """Turn the `columns` of a configuration into the column of each part.

    Args:
        mapping: Part -> column, for the parts that differ from the default. `choices` may be a list with one column
            for each choice. A part that is mapped to null is not read even if there is a column of its name. Naming a
            column for `question` or `prompt` switches the default of the other off.

    Raises:
        InputError: If there is no part of that name, or its column isn't a name.

    >>> read_columns({"question": "sentence", "choices": ["option_a", "option_b"]}).choices
    ['option_a', 'option_b']
    """
    mapping = mapping or {}
    for part, column in mapping.items():
        if part not in PARTS:
            close = difflib.get_close_matches(part, PARTS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise InputError(f"Expected the keys of columns to be among {', '.join(PARTS)}, but got {part!r}.{hint}")
        several = part == "choices" and isinstance(column, (list, tuple)) and len(column) > 0
        names = column if several else [column]
        if column is not None and not all(isinstance(name, str) for name in names or []):
            allowed = "the name of a column, or a list of them," if part == "choices" else "the name of a column"
            raise InputError(f"Expected {allowed} for the part {part!r} in columns, but got {column!r}.")

    def single(part: str, default: str | None) -> str | None:
        column = mapping.get(part, default)
        return column if isinstance(column, str) else None

    choices = mapping.get("choices", "choices")
    asked = mapping.get("question") is not None or mapping.get("prompt") is not None
    if "question" in mapping and "prompt" in mapping and not asked:
        raise InputError("Expected a column for question or prompt in columns, but both are null.")
    required: list[str] = []
    for part in ("question", "prompt", "answer", "choices"):
        column = mapping.get(part)
        if column is not None:
            required.extend([column] if isinstance(column, str) else column)
    return Columns(
        question=single("question", None if asked else "question"),
        prompt=single("prompt", None if asked else "prompt"),
        answer=single("answer", "answer"),
        choices=choices,
        identifier=single("id", "id"),
        in_context_prompt=single("icl_prompt", "icl_prompt"),
        required=tuple(required),
    )
