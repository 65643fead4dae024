"""Instruction data in the forms that people have it in, and what is refused."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_lightning.data.sources import open_source
from swarm_lightning.errors import InputError
from swarm_lightning.tuning.conversations import ColumnNames, Turn, fingerprint_of, read_conversations


def written(folder: Path, records: list[Any]) -> str:
    path = folder / "lessons.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def turns_of(folder: Path, records: list[Any], columns: ColumnNames | None = None) -> list[tuple[Turn, ...]]:
    conversations, _ = read_conversations(open_source(written(folder, records)), columns=columns)
    return [conversation.turns for conversation in conversations]


USER, ASSISTANT = Turn("user", "2 + 2?"), Turn("assistant", "4")


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "2 + 2?", "response": "4"},
        {"prompt": "2 + 2?", "response": 4},
        {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"messages": '[{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]'},
    ],
)
def test_all_forms_of_one_conversation_read_alike(tmp_path: Path, record: dict[str, Any]) -> None:
    assert turns_of(tmp_path, [record]) == [(USER, ASSISTANT)]


def test_columns_of_other_names_are_mapped_and_several_are_joined_by_blank_lines(tmp_path: Path) -> None:
    records = [
        {"instruction": "Add.", "input": "2 + 2", "output": "4", "manner": "Be short."},
        {"instruction": "Greet.", "input": "", "output": "Hello", "manner": None},
    ]
    mapping: ColumnNames = {"prompt": ["instruction", "input"], "response": "output", "system": "manner"}
    assert turns_of(tmp_path, records, mapping) == [
        (Turn("system", "Be short."), Turn("user", "Add.\n\n2 + 2"), Turn("assistant", "4")),
        (Turn("user", "Greet."), Turn("assistant", "Hello")),
    ]


def test_what_follows_the_last_reply_is_dropped(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
    assert turns_of(tmp_path, [{"messages": [*messages, {"role": "user", "content": "Thanks"}]}]) == [(USER, ASSISTANT)]


def test_records_without_a_response_are_left_out_and_named(tmp_path: Path) -> None:
    records = [{"id": "a", "prompt": "?", "response": ""}, {"id": "b", "prompt": "?", "response": "!"}]
    source = open_source(written(tmp_path, records))
    conversations, notices = read_conversations(source)
    assert [conversation.identifier for conversation in conversations] == ["b"]
    assert [(notice.kind, notice.identifiers) for notice in notices] == [("no answer", ("a",))]


@pytest.mark.parametrize(
    ("records", "columns", "message"),
    [
        ([{"prompts": "?", "response": "!"}], None, "'prompt' and 'response'"),
        ([{"instruction": "?", "output": "!"}], {"prompt": "instruktion", "response": "output"}, "'instruction'"),
        ([{"instruction": "?", "output": "!"}], {"promt": "instruction"}, "Did you mean 'prompt'"),
        ([{"prompt": "?", "response": " "}], None, "every record is empty"),
        ([{"prompt": "?", "response": ["!"]}], None, "a text in the column 'response'"),
        ([{"messages": [{"role": "narrator", "content": "x"}]}], None, "to have a role"),
        ([{"messages": "hello"}], None, "a list of turns"),
        (["hello"], None, "'messages', or 'prompt'"),
        ([{"messages": []}], {"messages": "messages", "prompt": "messages"}, "Choose one"),
    ],
)
def test_data_that_cannot_be_used_is_refused(
    tmp_path: Path, records: list[Any], columns: ColumnNames | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        turns_of(tmp_path, records, columns)


def test_the_training_split_is_taken_and_another_must_be_named(tmp_path: Path) -> None:
    record = {"prompt": ["?"], "response": ["!"]}
    from datasets import Dataset, DatasetDict

    train, other = Dataset.from_dict(record), Dataset.from_dict({"prompt": ["a"], "response": ["b"]})
    DatasetDict({"train": train, "extra": other}).save_to_disk(str(tmp_path / "both"))
    DatasetDict({"one": train, "two": other}).save_to_disk(str(tmp_path / "neither"))
    source = open_source(str(tmp_path / "both"))
    assert read_conversations(source)[0][0].turns[1].content == "!"
    assert read_conversations(source, "extra")[0][0].turns[1].content == "b"
    with pytest.raises(InputError, match="'train', 'extra'"):
        read_conversations(source, "tests")
    with pytest.raises(InputError, match="'one', 'two'. Name one"):
        read_conversations(open_source(str(tmp_path / "neither")))


def test_the_fingerprint_changes_with_what_is_said_and_its_order(tmp_path: Path) -> None:
    records = [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}]
    prints = set()
    for changed in (records, records[::-1], [records[0], {"prompt": "c", "response": "e"}]):
        conversations, _ = read_conversations(open_source(written(tmp_path, changed)))
        prints.add(fingerprint_of(conversations))
    assert len(prints) == 3


def test_broken_text_is_mended_and_named_in_files_and_refused_in_json_inside_a_cell(tmp_path: Path) -> None:
    records = [{"prompt": "one", "response": "1"}, {"prompt": "two \ud83d", "response": "2"}]
    conversations, (notice,) = read_conversations(open_source(written(tmp_path, records)))
    assert conversations[1].turns[0] == Turn("user", "two \ufffd")
    assert (notice.kind, notice.identifiers) == ("broken text", ("1",))
    inside = json.dumps([{"role": "assistant", "content": "\ud83d"}])
    with pytest.raises(InputError, match="valid Unicode in the messages of record 0"):
        turns_of(tmp_path, [{"messages": inside}])


def test_numbers_of_any_size_are_responses(tmp_path: Path) -> None:
    path = tmp_path / "lessons.jsonl"
    path.write_text(f'{{"prompt": "?", "response": {"7" * 5000}}}\n')
    ((conversation,), _) = read_conversations(open_source(str(path)))
    assert conversation.turns[1].content == "7" * 5000


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters(codec=None), max_size=4) | st.just(-(10**4000)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "user"]), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(["messages", "prompt", "response", "system", "id"])


@given(st.lists(st.dictionaries(KEYS, VALUES | VALUES.map(json.dumps), max_size=5), min_size=1, max_size=4))
def test_any_records_are_conversations_or_refused(records: list[dict[str, Any]]) -> None:
    with contextlib.suppress(InputError), tempfile.TemporaryDirectory() as folder:
        assert fingerprint_of(read_conversations(open_source(written(Path(folder), records)))[0])
