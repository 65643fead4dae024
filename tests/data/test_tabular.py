"""What comes through the `datasets` library, with real files."""

import os
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from swarm_lightning.data.tables import Source
from swarm_lightning.data.tabular import open_csv, open_folder, open_hub, open_parquet
from swarm_lightning.errors import InputError


def _records(source: Source, split: str = "") -> list[dict[str, Any]]:
    return list(source.splits[split]().records)


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
        ("question,question\n1,2\n", "come twice: question"),
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
    with pytest.raises(InputError, match=r"file\.csv to be a csv file.*line 3") as raised:
        _records(open_csv(path))
    assert raised.value.__cause__ is not None


def test_parquet_keeps_numbers_and_nested_choices(tmp_path: Path) -> None:
    records = [{"question": "1", "answer": 1, "choices": ["x", "y"]}, {"question": "2", "answer": 0, "choices": ["z"]}]
    path = tmp_path / "file [1].parquet"
    Dataset.from_list(records).to_parquet(path)
    assert _records(open_parquet(path)) == records


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    path.write_text("hello")
    with pytest.raises(InputError, match=r"file\.parquet to be a parquet file"):
        _records(open_parquet(path))


def test_a_changed_file_is_read_anew_even_with_its_old_time_and_size(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("question\nold\n")
    times = path.stat()
    assert _records(open_csv(path)) == [{"question": "old"}]
    path.write_text("question\nnew\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert _records(open_csv(path)) == [{"question": "new"}]


def test_a_folder_written_by_save_to_disk_has_its_splits(tmp_path: Path) -> None:
    splits = {"validation": Dataset.from_list([{"question": "1"}]), "test": Dataset.from_list([{"question": "2"}])}
    DatasetDict(splits).save_to_disk(tmp_path / "sums")
    source = open_folder(tmp_path / "sums", None)
    assert (source.name, list(source.splits)) == ("sums", ["validation", "test"])
    assert _records(source, "test") == [{"question": "2"}]
    with pytest.raises(InputError, match="no subset for"):
        open_folder(tmp_path / "sums", "main")


def test_a_single_dataset_on_disk_has_one_split_and_its_class_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_list([{"text": "1", "label": 1}], features=features).save_to_disk(tmp_path / "one")
    source = open_folder(tmp_path / "one", None)
    assert list(source.splits) == [""]
    assert source.splits[""]().class_names == {"label": ["no", "yes"]}


def test_a_folder_of_data_files_has_a_split_for_each(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("question,answer\n1,a\n")
    (tmp_path / "test.csv").write_text("question,answer\n2,b\n3,c\n")
    source = open_folder(tmp_path, None)
    assert sorted(source.splits) == ["test", "train"]
    assert [record["question"] for record in _records(source, "test")] == [2, 3]


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="to be a folder with data files"):
        open_folder(tmp_path, None)


def test_a_hub_that_cannot_be_reached_is_said_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match="'nobody/nothing/main' to be a file, a folder, or a dataset.*hub gave"
    ) as raised:
        open_hub("nobody/nothing", "main")
    assert isinstance(raised.value.__cause__, Exception)
