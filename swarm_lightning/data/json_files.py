"""Reads .json and .jsonl files: the package's own form with both splits, plain lists of records, and prompts.

They are parsed here and not by the `datasets` library, which makes timestamps of answers that look like dates, refuses
columns of mixed types, and can't say in which line a file is broken.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarm_lightning.data.notices import Notice
from swarm_lightning.data.tables import Record, Source, Table
from swarm_lightning.errors import InputError

SPLIT_KEYS = {"dev": "validation", "validation": "validation", "test": "test"}
KNOWN_KEYS = {*SPLIT_KEYS, "dataset", "icl_prompt"}


def open_json(path: Path) -> Source:
    """Open a .json file: one object with `dev` (or `validation`) and `test`, or a list of records.

    Raises:
        InputError: If it is neither, or no JSON at all.
    """
    content = _parse(_text(path), path)
    if isinstance(content, list):
        return _source_of_list(content, path)
    found = [key for key in SPLIT_KEYS if isinstance(content, dict) and key in content]
    if not found:
        shown = f"an object with {_names(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise InputError(
            f"Expected {path} to hold an object with the lists 'dev' and 'test', or one list of records, "
            f"but got {shown}."
        )
    if "dev" in found and "validation" in found:
        raise InputError(f"Expected either 'dev' or 'validation' in {path}, but both are there. Remove one.")
    for key in found:
        if not isinstance(content[key], list):
            raise InputError(
                f"Expected {key!r} in {path} to be a list of records, but got a {type(content[key]).__name__}."
            )
    prompt = content.get("icl_prompt") or ""
    if not isinstance(prompt, str):
        raise InputError(f"Expected 'icl_prompt' in {path} to be a text, but got a {type(prompt).__name__}.")

    def reader(key: str) -> Callable[[], Table]:
        return lambda: Table(f"{path} ({key!r})", content[key], in_context_prompt=prompt)

    unknown = {key: None for key in content if key not in KNOWN_KEYS}
    message = f"{path} has parts that were not read: {_names(unknown)} (known: {_names(dict.fromkeys(KNOWN_KEYS))})."
    return Source(
        name=str(content.get("dataset") or path.stem),
        place=str(path),
        splits={SPLIT_KEYS[key]: reader(key) for key in found},
        notices=(Notice("unknown keys", "warning", message, len(unknown)),) if unknown else (),
    )


def open_json_lines(path: Path) -> Source:
    """Open a .jsonl file: one record a line; empty lines are skipped.

    Raises:
        InputError: If a line is no JSON.
    """
    lines = _text(path).split("\n")
    records = [_parse(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]
    return _source_of_list(records, path)


def _source_of_list(records: list[Record], path: Path) -> Source:
    return Source(path.stem, str(path), {"": lambda: Table(str(path), records)})


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"Expected {path} to be UTF-8 text, but byte {error.start} is not. Convert it to UTF-8."
        ) from error
    if not text.strip():
        raise InputError(f"Expected records in {path}, but it is empty.")
    return text


def _parse(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = ""
        if line is None and error.msg == "Extra data":
            hint = " If every line is a record of its own, name the file .jsonl."
        raise InputError(
            f"Expected JSON in {path}, but line {line or error.lineno}, column {error.colno} is broken: "
            f"{error.msg}.{hint}"
        ) from error
    except RecursionError as error:
        raise InputError(f"Expected records in {path}, but its lists and objects are nested too deeply.") from error


def _names(keys: dict[str, Any]) -> str:
    return ", ".join(repr(key) for key in sorted(keys)) or "no keys"
