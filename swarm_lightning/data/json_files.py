"""Reads .json and .jsonl files: objects with a list of records for each split, plain lists of records, and prompts.

They are parsed here and not by the `datasets` library, which makes timestamps of answers that look like dates, refuses
columns of mixed types, and can't say in which line a file is broken.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarm_lightning.data.json_values import is_broken, mend_records, mend_text, parse_json
from swarm_lightning.data.notices import Notice
from swarm_lightning.data.tables import Source, Table
from swarm_lightning.errors import InputError
from swarm_lightning.texts import MARK, read_text

# Keys that are splits whatever they hold. Beside one of them, every other list of objects is a split too.
SPLIT_KEYS = ("train", "training", "dev", "validation", "val", "valid", "test")
SETTING_KEYS = ("dataset", "icl_prompt")


def open_json(path: Path) -> Source:
    """Open a .json file: one object with a list of records for each split, as `dev` and `test`, or a list of records.

    The split `dev` is called `validation`, the others have the names of their keys.

    Raises:
        InputError: If it is neither, or no JSON at all.
    """
    content = _parse(_text(path), path)
    if isinstance(content, list):
        return _source_of_list(content, path)
    if not isinstance(content, dict) or not any(key in content for key in SPLIT_KEYS):
        shown = f"an object with {_names(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise InputError(
            f"Expected {path} to hold an object with the lists 'dev' and 'test', or one list of records, "
            f"but got {shown}."
        )
    if "dev" in content and "validation" in content:
        raise InputError(f"Expected either 'dev' or 'validation' in {path}, but it has both. Remove one.")
    found = [key for key in content if key in SPLIT_KEYS or (key not in SETTING_KEYS and _are_records(content[key]))]
    for key in found:
        if not isinstance(content[key], list):
            raise InputError(
                f"Expected {key!r} in {path} to be a list of records, but got a {type(content[key]).__name__}."
            )
    prompt = content.get("icl_prompt") or ""
    if not isinstance(prompt, str):
        raise InputError(f"Expected 'icl_prompt' in {path} to be a text, but got a {type(prompt).__name__}.")
    notices: list[Notice] = []
    if is_broken(prompt):
        message = f"The 'icl_prompt' of {path} holds halves of surrogate pairs. U+FFFD was put in their place."
        notices.append(Notice("broken text", "warning", message))
        prompt = mend_text(prompt)
    tables: dict[str, Table] = {}
    for key in found:
        where = f"{path} ({key!r})"
        records, mended = mend_records(content[key], where)
        tables["validation" if key == "dev" else key] = Table(where, records, in_context_prompt=prompt)
        notices.extend(mended)
    unknown = {key: None for key in content if key not in (*found, *SETTING_KEYS)}
    if unknown:
        known = dict.fromkeys((*SPLIT_KEYS, *SETTING_KEYS))
        message = f"{path} has parts that were not read: {_names(unknown)} (known: {_names(known)})."
        notices.append(Notice("unknown keys", "warning", message, len(unknown)))
    return Source(
        name=mend_text(str(content.get("dataset") or path.stem)),
        place=str(path),
        splits={split: _reader(table) for split, table in tables.items()},
        notices=tuple(notices),
    )


def open_json_lines(path: Path) -> Source:
    """Open a .jsonl file: one record a line; empty lines are skipped.

    Raises:
        InputError: If a line is no JSON.
    """
    lines = _text(path).split("\n")
    records = [_parse(line.lstrip(MARK), path, number) for number, line in enumerate(lines, start=1) if line.strip()]
    return _source_of_list(records, path)


def _source_of_list(content: list[Any], path: Path) -> Source:
    records, notices = mend_records(content, str(path))
    return Source(path.stem, str(path), {"": _reader(Table(str(path), records))}, notices)


def _reader(table: Table) -> Callable[[], Table]:
    return lambda: table


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(record, dict) for record in value)


def _text(path: Path) -> str:
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"Expected records in {path}, but it is empty.")
    return text


def _parse(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return parse_json(text, str(path) if line is None else f"line {line} of {path}")
    except json.JSONDecodeError as error:
        hint = ""
        if line is None and error.msg == "Extra data":
            hint = " If every line is a record of its own, name the file .jsonl."
        raise InputError(
            f"Expected JSON in {path}, but line {line or error.lineno}, column {error.colno} is broken: "
            f"{error.msg}.{hint}"
        ) from error


def _names(keys: dict[str, Any]) -> str:
    return ", ".join(repr(key) for key in sorted(keys)) or "no keys"
