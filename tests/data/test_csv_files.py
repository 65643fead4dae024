"""Files of separated values."""

import csv
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.data.csv_files import check_csv, open_csv
from swarm_lightning.data.tables import Source
from swarm_lightning.errors import InputError


def _records(source: Source) -> list[dict[str, Any]]:
    return list(source.splits[""]().records)


def test_csv_cells_are_text_and_empty_ones_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text('\ufeffquestion,answer,first\n"a, ""b""",0042,None\n1.50,,N/A\n', encoding="utf-8")
    assert _records(open_csv(path)) == [
        {"question": 'a, "b"', "answer": "0042", "first": "None"},
        {"question": "1.50", "answer": None, "first": "N/A"},
    ]


def test_a_file_with_tabs_is_read_with_tabs(tmp_path: Path) -> None:
    path = tmp_path / "file.tsv"
    path.write_text("question\tanswer\na, b\tc\n")
    assert _records(open_csv(path, "\t")) == [{"question": "a, b", "answer": "c"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is nothing"),
        ("question,answer\n", "only a header"),
        ("question,question\n1,2\n", "occur twice: question"),
    ],
)
def test_csv_without_records_or_with_a_column_twice_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        open_csv(path)


def test_a_broken_line_of_csv_is_named_with_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("question,answer\n1,2\n1,2,3\n")
    with pytest.raises(InputError, match=r"2 cells in every record of .*file\.csv.* line 3 has 3 cells"):
        open_csv(path)


def _write(folder: Path, text: str) -> Path:
    path = folder / "file.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("place", [0, 1])
def test_a_cell_may_be_as_long_as_it_likes_and_the_limit_of_others_stays(tmp_path: Path, place: int) -> None:
    before, cells = csv.field_size_limit(), ["short", "short"]
    cells[place] = "word " * 30000
    assert _records(open_csv(_write(tmp_path, f"a,b\n{cells[0]},{cells[1]}\n"))) == [{"a": cells[0], "b": cells[1]}]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\nYes, it is,3\n", r"line 3 has 3 cells \('Yes', ' it is', '3'\)"),
        ("a,b\n1,2,\n3,4\n", r"line 2 has 3 cells \('1', '2', ''\)"),
        ("a,b\n1\n", "line 2 has 1 cell .*Leave missing cells empty"),
        ('a,b\n"two\nlines",1\n\n1\n2\n', "line 5 has 1 cell .*1 more"),
        ('a,b\n1,2\n"never,closed\n3,4\n', "begins in line 3 is broken"),
        ('a,b\n"say "hi" now",2\n', "begins in line 2 is broken: .*inside a quoted cell twice"),
        ("a,b,\n1,2,3\n", "column 3 has none and holds '3' in line 2"),
        (" a,a \n1,2\n", "occur twice: a"),
        ("a;b\n1;2\n", "separated by commas.*'a;b'.*semicolons. If it is, save it with commas"),
        ('"a";"b, c"\n1;2\n', "begins in line 1 is broken"),
        ('"a";"b"\n"1";"2"\n', "semicolons. If it is, save it with commas"),
        ('a,b\n1, "2, 3"\n', "without a blank before them"),
        ("a\tb\n1\t2\n", r"tabs. If it is, name it file\.tsv"),
        ("a,b\n1,2\n\x00,3\n", "line 3 holds a NUL"),
        (",\n,\n", "names of columns in line 1"),
    ],
)
def test_what_could_stand_in_the_wrong_column_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_csv(_write(tmp_path, text))


@pytest.mark.parametrize("text", ["a,b,\n1,2,\n3,,\n", "a,b\n1,2,\n3,,\n", ",a,b\n0,1,2\n1,3,\n", ",a,b\n,1,2\n,3,\n"])
def test_columns_without_names_are_left_out_with_a_word(tmp_path: Path, text: str) -> None:
    source = open_csv(_write(tmp_path, text))
    assert _records(source) == [{"a": "1", "b": "2"}, {"a": "3", "b": None}]
    assert [(notice.kind, notice.severity) for notice in source.notices] == [("unnamed column", "info")]


def test_white_space_around_names_is_left_out_with_a_word_and_in_cells_kept(tmp_path: Path) -> None:
    source = open_csv(_write(tmp_path, "a, b ,c\r\n 1, 2,3\r\n"))
    assert _records(source) == [{"a": " 1", "b": " 2", "c": "3"}]
    (notice,) = source.notices
    assert "'b'" in notice.message


def test_line_ends_in_quoted_cells_stay_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    source = open_csv(_write(tmp_path, '\na,b\r\n"1\r\n2","3\u2028\x0b4"\r\n\r\n  \r\n5,6'))
    assert _records(source) == [{"a": "1\r\n2", "b": "3\u2028\x0b4"}, {"a": "5", "b": "6"}]


def test_a_file_that_other_readers_would_shift_by_a_column_is_refused_for_them(tmp_path: Path) -> None:
    path = _write(tmp_path, "a,b\n1,2,\n3,4,\n")
    with pytest.raises(InputError, match="line 2 has 3 cells"):
        check_csv(path)
    check_csv(_write(tmp_path, "a,b,\n1,2,\n"))
