"""Reads instruction data: records with chat messages, or with a prompt and a response, become conversations.

Records without a response are left out and named in a notice. How a conversation is written for a model is the matter
of `rendering.py`.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm_lightning.data.json_values import is_broken, parse_json
from swarm_lightning.data.notices import Notice, name_some
from swarm_lightning.data.tables import Record, Source, Table, is_missing, text_of
from swarm_lightning.errors import InputError

PARTS = ("messages", "prompt", "response", "system")
ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "tool": "tool",
}  # fmt: skip
TRAINING_SPLITS = ("train", "training")
ColumnNames = Mapping[str, str | list[str] | None]


@dataclass(frozen=True)
class Turn:
    """What one side says: `system`, `user`, `assistant` or `tool`."""

    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """One example of instruction data; its last turn is the assistant's."""

    identifier: str
    turns: tuple[Turn, ...]


def read_conversations(
    source: Source, split: str | None = None, columns: ColumnNames | None = None
) -> tuple[list[Conversation], list[Notice]]:
    """Read the conversations of one domain.

    Args:
        source: The opened file, folder or dataset.
        split: Name of the split; None for the only one, or `train`.
        columns: Which column holds what, for the parts that differ from the default: `messages` (a list of turns with
            role and content), or `prompt` (a column, or several whose texts are joined by blank lines), `response` and
            perhaps `system`.

    Returns:
        The conversations in the order of the records, and what a user should know about them.

    Raises:
        InputError: If there is no such split or column, a value is not what it should be, or nothing is left.
    """
    names = _read_columns(columns)
    table = source.splits[_split(source, split)]()
    if not table.records:
        raise InputError(f"Expected at least one record in {table.where}, but it is empty.")
    chosen = _choose(table, names)
    conversations = [_conversation(table, index, chosen) for index in range(len(table.records))]
    kept = [conversation for conversation in conversations if _answered(conversation)]
    notices = [*source.notices]
    if not kept:
        raise InputError(f"Expected responses in {table.where}, but that of every record is empty. Check the columns.")
    if len(kept) < len(conversations):
        lost = tuple(conversation.identifier for conversation in conversations if not _answered(conversation))
        message = f"{len(lost)} records of {table.where} have no response ({name_some(lost)}). They were left out."
        notices.append(Notice("no answer", "warning", message, len(lost), lost))
    return kept, notices


def fingerprint_of(conversations: Sequence[Conversation]) -> str:
    """Return SHA-256 in hex over all that is said, in order."""
    digest = hashlib.sha256()
    for conversation in conversations:
        digest.update(json.dumps([[turn.role, turn.content] for turn in conversation.turns]).encode())
    return digest.hexdigest()


def _read_columns(columns: ColumnNames | None) -> dict[str, str | list[str] | None]:
    names = dict(columns or {})
    for part, column in names.items():
        if part not in PARTS:
            close = difflib.get_close_matches(part, PARTS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise InputError(f"Expected the keys of columns to be among {', '.join(PARTS)}, but got {part!r}.{hint}")
        if isinstance(column, list) and part != "prompt":
            raise InputError(f"Expected the name of one column for {part!r} in columns, but got {column!r}.")
    if names.get("messages") and (names.get("prompt") or names.get("response")):
        raise InputError("Expected columns for messages, or for prompt and response, but both are named. Choose one.")
    return names


def _split(source: Source, wanted: str | None) -> str:
    names = list(source.splits)
    if wanted in names:
        return str(wanted)
    if wanted is None and len(names) == 1:
        return names[0]
    usual = [name for name in TRAINING_SPLITS if name in names]
    if wanted is None and usual:
        return usual[0]
    shown = ", ".join(map(repr, names))
    raise InputError(
        f"Expected the split of {source.place} to be among {shown}, but got {wanted!r}. Name one with `split`."
        if wanted is not None
        else f"Expected a split named train in {source.place}, but there are {shown}. Name one with `split`."
    )


def _choose(table: Table, names: Mapping[str, str | list[str] | None]) -> dict[str, list[str]]:
    """Settle which columns are read: those of messages, or those of prompt and response."""
    there = {column for record in table.records if isinstance(record, Mapping) for column in record}
    asked = {part: [column] if isinstance(column, str) else list(column or []) for part, column in names.items()}
    for part, columns in asked.items():
        for column in columns:
            if column not in there:
                raise InputError(_missing(table, f"a column {column!r} (for {part})", column, there))
    paired = "prompt" in asked or "response" in asked
    if not paired:
        usual: list[str] = [column for column in ("messages", "conversations") if column in there]
        messages = asked.get("messages") or usual[:1]
        if messages:
            return {"messages": messages}
    chosen = {part: asked.get(part) or [part] for part in ("prompt", "response")}
    chosen["system"] = asked.get("system") or [column for column in ("system",) if column in there]
    for part in ("prompt", "response"):
        if not all(column in there for column in chosen[part]):
            what = f"a column {part!r}" if paired else "columns 'messages', or 'prompt' and 'response',"
            raise InputError(_missing(table, what, part, there))
    return chosen


def _missing(table: Table, what: str, name: str, there: set[str]) -> str:
    close = difflib.get_close_matches(name, there, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(sorted(map(repr, there))) or "none"
    return (
        f"Expected {what} in {table.where}, but there are {shown}.{hint} Say which column holds what, as in "
        "columns: {prompt: instruction, response: output}."
    )


def _conversation(table: Table, index: int, chosen: Mapping[str, list[str]]) -> Conversation:
    record = table.records[index]
    where = f"record {index} of {table.where}"
    if not isinstance(record, Mapping):
        raise InputError(f"Expected {where} to be an object with columns, but got {type(record).__name__}.")
    identifier = str(index) if is_missing(record.get("id")) else text_of(record["id"])
    if "messages" in chosen:
        return Conversation(identifier, _turns(record.get(chosen["messages"][0]), where))
    said = {part: _joined(record, columns, where) for part, columns in chosen.items()}
    turns = [Turn("system", said["system"])] if said["system"] else []
    turns += [Turn("user", said["prompt"]), Turn("assistant", said["response"])]
    return Conversation(identifier, tuple(turns))


def _turns(found: Any, where: str) -> tuple[Turn, ...]:
    if isinstance(found, str):
        try:
            found = parse_json(found, f"the messages of {where}")
        except json.JSONDecodeError:
            found = found[:60]
        if is_broken(found):
            raise InputError(
                f"Expected valid Unicode in the messages of {where}, but their JSON text holds halves of surrogate "
                "pairs. Remove them."
            )
    if is_missing(found):
        return ()
    if not isinstance(found, (list, tuple)):
        raise InputError(f"Expected a list of turns as the messages of {where}, but got {str(found)[:60]!r}.")
    turns = []
    for message in found:
        entry = message if isinstance(message, Mapping) else {}
        role, content = entry.get("role", entry.get("from")), entry.get("content", entry.get("value"))
        if ROLES.get(str(role)) is None or not isinstance(content, str):
            raise InputError(
                f"Expected every message of {where} to have a role ({', '.join(ROLES)}) and a text as content, but got "
                f"{str(message)[:80]!r}."
            )
        turns.append(Turn(ROLES[str(role)], content))
    while turns and turns[-1].role != "assistant":  # nothing follows that could be trained on
        turns.pop()
    return tuple(turns)


def _joined(record: Record, columns: Sequence[str], where: str) -> str:
    texts = []
    for column in columns:
        found = record.get(column)
        if isinstance(found, (Mapping, list, tuple)):
            raise InputError(f"Expected a text in the column {column!r}, but {where} has {str(found)[:60]!r}.")
        if not is_missing(found) and text_of(found) != "":
            texts.append(text_of(found))
    return "\n\n".join(texts)


def _answered(conversation: Conversation) -> bool:
    return any(turn.role == "assistant" and turn.content.strip() for turn in conversation.turns)
