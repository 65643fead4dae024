"""From the records of a table to examples, whatever the columns are called and however choices and answers are stored.

Nothing is judged here but the form: a record whose answer is missing or fits no choice becomes an example all the same,
and `checks.py` finds it.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from swarm_lightning.data.answers import Draft, settle_answers
from swarm_lightning.data.choices import read_choices
from swarm_lightning.data.columns import Columns
from swarm_lightning.data.examples import Example
from swarm_lightning.data.tables import Record, Table, is_missing, text_of
from swarm_lightning.errors import InputError


def read_examples(tables: Sequence[Table], columns: Columns) -> list[list[Example]]:
    """Turn the records of a dataset's tables into examples.

    Choices may be a mapping from label to text, a list of texts (labelled A, B, C, ...), a list of `{"label", "text"}`,
    `{"text": [...], "label": [...]}`, `{"choices": [...], "labels": [0, 1, ...]}` with the right one marked by 1, the
    JSON text of any of these, or one column for each. Choices that are None are left out. What the answers mean is
    settled over all tables together; see `answers.py`.

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
    spaced = {column.strip(): column for column in there if isinstance(column, str) and column != column.strip()}
    for column in sorted(columns.named - there):
        if column in spaced:
            raise InputError(
                f"Expected the column {column!r} in {table.where}, but it is called {spaced[column]!r}, with white "
                "space around. Rename it."
            )
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
    stored, marked = read_choices(record, columns, where)
    choices = {label: choice for label, choice in stored if choice is not None} or None
    answer, raw = text(columns.answer), value(columns.answer)
    whole = (isinstance(raw, int) and not isinstance(raw, bool)) or (isinstance(raw, float) and raw.is_integer())
    classes = table.class_names.get(columns.answer or "", ())
    if choices is None and whole and 0 <= raw < len(classes):
        answer = classes[int(raw)]
    if choices is not None and answer is not None:
        answer = answer.strip()
    if marked is not None:
        if answer:
            raise InputError(
                f"Expected the right choice in the column {columns.choices!r} or in the column {columns.answer!r}, but "
                f"{where} has it in both. Switch one off, as in `columns: {{answer: null}}`."
            )
        answer = marked
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
