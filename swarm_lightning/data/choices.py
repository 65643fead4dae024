"""Reads the choices of a record, in whatever form they are stored."""

import json
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from swarm_lightning.data.columns import Columns
from swarm_lightning.data.json_values import is_broken, parse_json
from swarm_lightning.data.tables import Record, is_missing, text_of
from swarm_lightning.errors import InputError


def read_choices(record: Record, columns: Columns, where: str) -> tuple[list[tuple[str, str | None]], str | None]:
    """Read the choices as pairs of label and text; the text of a choice that isn't there is None.

    Args:
        record: The record.
        columns: The column of each part of an example.
        where: The record in words, for messages.

    Returns:
        The pairs in their order, and the label of the choice that is marked as right where the form has such marks.

    Raises:
        InputError: If they have none of the forms, or a label twice.
    """
    pairs, marked = _read(record, columns, where)
    labels = [label for label, _ in pairs]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InputError(
            f"Expected each label of the choices once, but {where} has {twice!r} {labels.count(twice)} times. Give "
            "each choice a label of its own, or give a list of texts only."
        )
    return pairs, marked


def _read(record: Record, columns: Columns, where: str) -> tuple[list[tuple[str, str | None]], str | None]:
    if columns.choices is None:
        return [], None
    if not isinstance(columns.choices, str):
        return _label([record.get(column) for column in columns.choices], where), None
    found = record.get(columns.choices)
    if isinstance(found, str):
        found = _parsed(found, where)
    if is_missing(found):
        return [], None
    if isinstance(found, Mapping) and isinstance(found.get("choices"), (list, tuple)) and "labels" in found:
        return _marked(found["choices"], found["labels"], columns.choices, where)
    if isinstance(found, Mapping) and isinstance(found.get("text"), (list, tuple)) and "label" in found:
        labels = found["label"] if isinstance(found["label"], (list, tuple)) else [found["label"]]
        if len(found["text"]) != len(labels):
            raise InputError(
                f"Expected as many labels as texts in the choices of {where}, but got {len(labels)} labels and "
                f"{len(found['text'])} texts."
            )
        return [
            (text_of(label).strip(), _choice(text, where)) for label, text in zip(labels, found["text"], strict=True)
        ], None
    if isinstance(found, Mapping):
        return [(str(label).strip(), _choice(text, where)) for label, text in found.items()], None
    if isinstance(found, (list, tuple)):
        if found and all(isinstance(choice, Mapping) and {"label", "text"} <= set(choice) for choice in found):
            return [(text_of(choice["label"]).strip(), _choice(choice["text"], where)) for choice in found], None
        return _label(found, where), None
    raise InputError(
        f"Expected the choices of {where} to be a mapping from label to text or a list of texts, but got {found!r}. "
        "If each choice has a column of its own, list them, as in `columns: {choices: [option_a, option_b]}`; "
        "if the column is none of the choices, switch it off with `columns: {choices: null}`."
    )


def _parsed(text: str, where: str) -> Any:
    try:
        found = parse_json(text, f"the choices of {where}")
    except json.JSONDecodeError:
        return text[:60]
    if is_broken(found):
        raise InputError(
            f"Expected valid Unicode in the choices of {where}, but their JSON text holds halves of surrogate pairs. "
            "Remove them."
        )
    return found


def _marked(
    texts: Sequence[object], marks: object, column: str, where: str
) -> tuple[list[tuple[str, str | None]], str | None]:
    """Read choices of which each has a mark, 1 for the right one and 0 for the others."""
    given = list(marks) if isinstance(marks, (list, tuple)) else []
    if len(given) != len(texts) or not all(isinstance(mark, (int, float)) and mark in (0, 1) for mark in given):
        raise InputError(
            f"Expected a label of 0 or 1 for each of the {len(texts)} choices in the column {column!r} of {where}, but "
            f"got {str(marks)[:60]}. Give the choices as a mapping from label to text or a list of texts, and the "
            "answer in a column of its own."
        )
    if sum(given) != 1:
        raise InputError(
            f"Expected exactly one right choice (label 1) in the column {column!r} of {where}, but {int(sum(given))} "
            f"of {len(texts)} are. Name a column with one right choice (truthful_qa has it in mc1_targets), or give "
            "the choices as a list of texts, and the answer in a column of its own."
        )
    pairs = _label(texts, where)
    return pairs, pairs[given.index(1)][0]


def _label(texts: Sequence[object], where: str) -> list[tuple[str, str | None]]:
    if len(texts) > len(ascii_uppercase):
        raise InputError(
            f"Expected at most {len(ascii_uppercase)} choices, one for each letter, but {where} has {len(texts)}. "
            "Give them labels of their own, as a mapping from label to text."
        )
    return [(letter, _choice(text, where)) for letter, text in zip(ascii_uppercase, texts, strict=False)]


def _choice(text: object, where: str) -> str | None:
    if isinstance(text, (Mapping, list, tuple)):
        raise InputError(f"Expected a text for each choice, but {where} has {type(text).__name__} {str(text)[:60]!r}.")
    return None if is_missing(text) else text_of(text)
