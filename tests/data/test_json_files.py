"""Files in JSON."""

import json
from pathlib import Path

import pytest

from swarm_lightning.data.json_files import open_json, open_json_lines
from swarm_lightning.errors import InputError


def _write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("key", ["dev", "validation"])
def test_the_form_with_both_splits(tmp_path: Path, key: str) -> None:
    content = {"dataset": "sums", key: [{"question": "1"}], "test": [{"question": "2"}], "icl_prompt": "Solve."}
    source = open_json(_write(tmp_path / "file.json", content))
    assert source.name == "sums"
    assert list(source.splits) == ["validation", "test"]
    table = source.splits["validation"]()
    assert (list(table.records), table.in_context_prompt) == ([{"question": "1"}], "Solve.")
    assert source.notices == ()


def test_a_list_of_records_is_one_split_named_by_the_file(tmp_path: Path) -> None:
    source = open_json(_write(tmp_path / "sums.json", [{"question": "1"}]))
    assert (source.name, list(source.splits)) == ("sums", [""])


def test_every_list_beside_a_usual_split_is_a_split(tmp_path: Path) -> None:
    one = [{"question": "1"}]
    source = open_json(_write(tmp_path / "file.json", {"train": one, "dev": one, "hard": one, "tags": ["a"]}))
    assert list(source.splits) == ["train", "validation", "hard"]
    (notice,) = source.notices
    assert "'tags'" in notice.message


@pytest.mark.parametrize("name", ["file.json", "file.jsonl"])
def test_numbers_that_no_float_can_hold_stay_text(tmp_path: Path, name: str) -> None:
    long, large = "7" * 5000, "9" * 309
    path = tmp_path / name
    path.write_text(f'{{"answer": {long}, "choices": [-{large}, 1e999, -Infinity, 12]}}')
    if name.endswith("json"):
        path.write_text(f"[{path.read_text()}]")
    opened = open_json(path) if name.endswith("json") else open_json_lines(path)
    assert list(opened.splits[""]().records) == [{"answer": long, "choices": ["-" + large, "1e999", "-Infinity", 12]}]


def test_halves_of_surrogate_pairs_are_mended_at_any_depth_and_their_records_named(tmp_path: Path) -> None:
    records = '[{"question": "\\ud83d\\ude00"}, {"\\ud83d": [{"a": "b\\ude00c"}]}]'
    content = f'{{"icl_prompt": "\\udc00", "dev": {records}, "test": []}}'
    source = open_json(_write(tmp_path / "file.json", content))
    table = source.splits["validation"]()
    assert list(table.records) == [{"question": "\U0001f600"}, {"\ufffd": [{"a": "b\ufffdc"}]}]
    assert table.in_context_prompt == "\ufffd"
    assert [(notice.kind, notice.identifiers) for notice in source.notices] == [
        ("broken text", ()),
        ("broken text", ("1",)),
    ]


def test_a_key_twice_in_one_object_is_refused_with_its_line(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.jsonl", '{"question": "1"}\n{"question": "2", "answer": "3", "question": "4"}\n')
    with pytest.raises(InputError, match=r"once in line 2 of .*file\.jsonl, but 'question' comes 2 times"):
        open_json_lines(path)


def test_lists_that_are_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.json", "[" * 300 + "]" * 300)
    with pytest.raises(InputError, match="nested too deeply"):
        open_json(path)


def test_byte_order_marks_are_passed_over_also_where_files_were_joined(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\xef\xbb\xbf{"a": 2}\n')
    assert list(open_json_lines(path).splits[""]().records) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 3}\n', encoding="utf-16")
    assert list(open_json_lines(path).splits[""]().records) == [{"a": 3}]


def test_parts_that_are_not_read_are_noticed(tmp_path: Path) -> None:
    content = {"dev": [], "test": [], "icl_promt": "Solve."}
    (notice,) = open_json(_write(tmp_path / "file.json", content)).notices
    assert "'icl_promt'" in notice.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"records": []}, "an object with 'records'"),
        ("3", "a int"),
        ({"dev": [], "validation": [], "test": []}, "either 'dev' or 'validation'"),
        ({"dev": {"question": []}, "test": []}, "'dev' in .* a list of records, but got a dict"),
        ({"dev": [], "test": [], "icl_prompt": ["a"]}, "'icl_prompt' in .* a text"),
        (" \n", "it is empty"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_json(_write(tmp_path / "file.json", content))


def test_broken_json_is_named_by_file_line_and_column(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.json", '{"dev": [],\n "test": oops}')
    with pytest.raises(InputError, match=r"file\.json, but line 2, column 10 is broken"):
        open_json(path)


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.jsonl", '{"question": "1"}\n\n{"question": }\n')
    with pytest.raises(InputError, match=r"file\.jsonl, but line 3, column 14 is broken"):
        open_json_lines(path)


def test_lines_in_a_json_file_are_pointed_to_the_right_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name the file .jsonl"):
        open_json(_write(tmp_path / "file.json", '{"question": "1"}\n{"question": "2"}\n'))


def test_lines_keep_dates_mixed_types_and_separators_inside_texts(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text('\ufeff{"answer": "2020-01-01"}\r\n{"answer": 3}\n\n{"answer": "a\u2028b"}\n', encoding="utf-8")
    (read,) = open_json_lines(path).splits.values()
    assert [record["answer"] for record in read().records] == ["2020-01-01", 3, "a\u2028b"]


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes('["é"]'.encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8 text, but byte 2"):
        open_json(path)
