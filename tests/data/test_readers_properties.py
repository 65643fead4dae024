"""Whatever stands in a file, reading it gives examples or an InputError."""

import contextlib
import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_lightning.data.checks import check_splits
from swarm_lightning.data.csv_files import open_csv
from swarm_lightning.data.readers import read_splits
from swarm_lightning.errors import InputError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**308, 10**310, -(10**4000)])
    | st.floats()
    | st.text(max_size=8)
    | st.text(st.characters(codec=None), max_size=4),  # halves of surrogate pairs too
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["question", "answer", "choices", "prompt", "id", "icl_prompt"]) | st.text(max_size=4)
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=4)
CELL = st.characters(exclude_characters="\0", codec="utf-8")
WHOLE = st.fixed_dictionaries({"question": st.text(min_size=1).filter(str.strip), "answer": st.text("ab", min_size=1)})


def read(name: str, content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        splits = read_splits(str(path), seed=0)
        assert splits.fingerprint
        check_splits(splits)
        return splits


@given(st.binary(max_size=200), st.sampled_from(["data.json", "data.jsonl", "data.csv", "data.tsv"]))
def test_any_bytes_are_read_or_refused(content: bytes, name: str) -> None:
    with contextlib.suppress(InputError):
        read(name, content)


@given(st.dictionaries(st.sampled_from(["dev", "test", "validation", "icl_prompt"]), RECORDS | VALUES, max_size=3))
def test_any_json_is_read_or_refused(content: dict[str, Any]) -> None:
    with contextlib.suppress(InputError):
        read("data.json", json.dumps(content).encode())


@given(st.lists(st.lists(st.sampled_from(["a", "b", " ", ",", '"', "\n", "\r", ";", "\0", "\ufeff"]), max_size=12)))
def test_any_text_of_separated_values_is_read_or_refused(pieces: list[list[str]]) -> None:
    text = "question,answer\n" + "\n".join("".join(line) for line in pieces)
    with contextlib.suppress(InputError):
        read("data.csv", text.encode())


@given(st.lists(st.lists(st.text(CELL, max_size=6), min_size=2, max_size=2), min_size=1, max_size=5))
def test_separated_values_come_back_as_they_were_written(cells: list[list[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["a", "b"], *cells])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        path.write_bytes(buffer.getvalue().encode())
        table = open_csv(path).splits[""]()
    assert [[record["a"] or "", record["b"] or ""] for record in table.records] == cells


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
