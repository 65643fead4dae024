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


def test_parts_that_are_not_read_are_noticed(tmp_path: Path) -> None:
    content = {"dev": [], "test": [], "icl_promt": "Solve."}
    (notice,) = open_json(_write(tmp_path / "file.json", content)).notices
    assert "'icl_promt'" in notice.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": []}, "an object with 'train'"),
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
