"""From the records of a table to examples, whatever the columns are called and however choices and answers are stored.

Nothing is judged here but the form: a record whose answer is missing or fits no choice becomes an example all the same,
and `checks.py` finds it.
"""

import datetime
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from swarm_lightning.data.answers import Draft, settle_answers
from swarm_lightning.data.columns import Columns
from swarm_lightning.data.examples import Example
from swarm_lightning.data.tables import Record, Table
from swarm_lightning.errors import InputError


def read_examples(tables: Sequence[Table], columns: Columns) -> list[list[Example]]:
    """Turn the records of a dataset's tables into examples.

    Choices may be a mapping from label to text, a list of texts (labelled A, B, C, ...), a list of `{"label", "text"}`,
    `{"text": [...], "label": [...]}`, the JSON text of any of these, or one column for each. Choices that are None are
    left out. What the answers mean is settled over all tables together; see `answers.py`.

    Args:
        tables: The tables of one dataset.
        columns: The column of each part of an example.

    Returns:
        The examples of each table, in the order of its records.

    Raises:
        InputError: If a table has no records, a column is missing, or a value can't be what it is meant to be.
    """
    drafts: list[list[Draft]] = []
    for table in tables:
        if not table.records:
            raise InputError(f"Expected at least one record in {table.where}, but it is empty.")
        _check_columns(table, columns)
        drafts.append([_draft(table, index, columns) for index in range(len(table.records))])
    where = " and ".join(table.where for table in tables)
    examples = iter(settle_answers([draft for of_table in drafts for draft in of_table], where))
    return [[next(examples) for _ in of_table] for of_table in drafts]


def text_of(value: object) -> str:
    """Write a single value as text: what a model should read, or reply.

    Whole floats lose their ".0": numbers become floats on the way when others in their column are missing.

    >>> text_of(3.0), text_of(2.5), text_of(True), text_of(datetime.datetime(2024, 5, 1))
    ('3', '2.5', 'True', '2024-05-01')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    # Readers make timestamps out of texts that look like dates.
    if isinstance(value, datetime.datetime) and value.time() == datetime.time(0) and value.tzinfo is None:
        return value.date().isoformat()
    return str(value)


def is_missing(value: object) -> bool:
    """Tell whether a value stands for none: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _check_columns(table: Table, columns: Columns) -> None:
    for index, record in enumerate(table.records):
        if not isinstance(record, Mapping):
            shown = f"{type(record).__name__} {str(record)[:60]!r}"
            raise InputError(
                f"Expected every record of {table.where} to be an object with columns, but record {index} is {shown}."
            )
        asking = [column for column in (columns.question, columns.prompt) if column is not None]
        if not any(column in record for column in asking):
            raise InputError(_missing_column(table, " or ".join(map(repr, asking)), asking, f"record {index}", record))
    there = {column for record in table.records for column in record}
    for column in columns.required:
        if column not in there:
            raise InputError(_missing_column(table, repr(column), [column], "every record", dict.fromkeys(there)))


def _missing_column(table: Table, wanted: str, columns: Sequence[str], which: str, record: Record) -> str:
    there = sorted(str(column) for column in record)
    close = [match for column in columns for match in difflib.get_close_matches(column, there, n=1)]
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"Expected the column {wanted} in {table.where}, but {which} lacks it; there are: {', '.join(there) or 'none'}."
        f"{hint} Say which column holds what, as in `columns: {{question: my_question, answer: gold}}`."
    )


def _draft(table: Table, index: int, columns: Columns) -> Draft:
    record = table.records[index]
    where = f"record {index} of {table.where}"

    def value(column: str | None) -> Any:
        found = None if column is None else record.get(column)
        return None if is_missing(found) else found

    def text(column: str | None) -> str | None:
        found = value(column)
        if found is None:
            return None
        if isinstance(found, (Mapping, list, tuple)):
            raise InputError(
                f"Expected a text or a number in the column {column!r}, but {where} has {type(found).__name__} "
                f"{str(found)[:60]!r}. Name a column with plain text, or make one."
            )
        return text_of(found)

    asked = columns.question if value(columns.question) is not None else columns.prompt
    stored = _choices(record, columns, where)
    choices = {label: choice for label, choice in stored if choice is not None} or None
    answer, raw = text(columns.answer), value(columns.answer)
    whole = isinstance(raw, (int, float)) and not isinstance(raw, bool) and float(raw).is_integer()
    classes = table.class_names.get(columns.answer or "")
    if choices is None and whole and classes is not None and raw >= 0:
        answer = classes[int(raw)]
    if choices is not None and answer is not None:
        answer = answer.strip()
    used = columns.named - {columns.question, columns.prompt} | {asked}
    identifier = text(columns.identifier)
    example = Example(
        question=text(asked) or "",
        answer=answer if answer and answer.strip() else None,
        choices=choices,
        identifier=str(index) if identifier is None else identifier,
        in_context_prompt=text(columns.in_context_prompt) or table.in_context_prompt,
        extras={column: extra for column, extra in record.items() if column not in used and not is_missing(extra)},
    )
    return Draft(example, tuple(label for label, _ in stored), whole)


def _choices(record: Record, columns: Columns, where: str) -> list[tuple[str, str | None]]:
    """Read the choices as pairs of label and text; the text of a choice that isn't there is None."""
    if columns.choices is None:
        return []
    if not isinstance(columns.choices, str):
        return _label([record.get(column) for column in columns.choices], where)
    found = record.get(columns.choices)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except json.JSONDecodeError:
            found = found[:60]
    if is_missing(found):
        return []
    if isinstance(found, Mapping) and isinstance(found.get("text"), (list, tuple)) and "label" in found:
        if len(found["text"]) != len(found["label"]):
            raise InputError(
                f"Expected as many labels as texts in the choices of {where}, but got {len(found['label'])} labels and "
                f"{len(found['text'])} texts."
            )
        pairs = zip(found["label"], found["text"], strict=True)
        return [(text_of(label).strip(), _choice(text, where)) for label, text in pairs]
    if isinstance(found, Mapping):
        return [(str(label).strip(), _choice(text, where)) for label, text in found.items()]
    if isinstance(found, (list, tuple)):
        if found and all(isinstance(choice, Mapping) and {"label", "text"} <= set(choice) for choice in found):
            return [(text_of(choice["label"]).strip(), _choice(choice["text"], where)) for choice in found]
        return _label(found, where)
    raise InputError(
        f"Expected the choices of {where} to be a mapping from label to text or a list of texts, but got {found!r}. "
        "If each choice has a column of its own, list them, as in `columns: {choices: [option_a, option_b]}`; "
        "if the column is none of the choices, switch it off with `columns: {choices: null}`."
    )


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
