"""Whatever stands in a file, reading it gives examples or an InputError."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_lightning.data.readers import read_splits
from swarm_lightning.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["question", "answer", "choices", "prompt", "id", "icl_prompt"]) | st.text(max_size=4)
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=4)
WHOLE = st.fixed_dictionaries({"question": st.text(min_size=1).filter(str.strip), "answer": st.text("ab", min_size=1)})


def read(name: str, content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return read_splits(str(path), seed=0)


@given(st.binary(max_size=200), st.sampled_from(["data.json", "data.jsonl"]))
def test_any_bytes_are_read_or_refused(content: bytes, name: str) -> None:
    with contextlib.suppress(InputError):
        read(name, content)


@given(st.dictionaries(st.sampled_from(["dev", "test", "validation", "icl_prompt"]), RECORDS | VALUES, max_size=3))
def test_any_json_is_read_or_refused(content: dict[str, Any]) -> None:
    with contextlib.suppress(InputError):
        read("data.json", json.dumps(content).encode())


@given(st.lists(WHOLE, min_size=1, max_size=4), st.lists(WHOLE, min_size=1, max_size=4))
def test_records_come_back_as_they_were_written(dev: list[dict[str, str]], test: list[dict[str, str]]) -> None:
    splits = read("data.json", json.dumps({"dev": dev, "test": test}).encode())
    for records, examples in ((dev, splits.validation), (test, splits.test)):
        assert [example.question for example in examples] == [record["question"] for record in records]
        assert [example.answer for example in examples] == [record["answer"] for record in records]


@given(st.binary(max_size=80))
def test_what_follows_a_record_never_passes_for_nothing(tail: bytes) -> None:
    record = b'{"dev": [{"question": "a", "answer": "b"}], "test": []}'
    if tail.strip():
        with pytest.raises(InputError):
            read("data.json", record + b"x" + tail)
