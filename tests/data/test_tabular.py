"""What comes through the `datasets` library, with real files."""

from pathlib import Path
from typing import Any

import pyarrow
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from pyarrow import parquet

from swarm_lightning.data.tables import Source
from swarm_lightning.data.tabular import open_folder, open_hub, open_parquet
from swarm_lightning.errors import InputError


def _records(source: Source, split: str = "") -> list[dict[str, Any]]:
    return list(source.splits[split]().records)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question,answer\n1,a\nYes, it is,b\n", "line 3 has 3 cells"),
        ("question,answer\n1,a,\n2,b,\n", "line 2 has 3 cells"),
        ("question,answer\n1\n", "line 2 has 1 cell"),
        ("question;answer\n1;a\n", "separated by commas"),
    ],
)
def test_csv_files_in_a_folder_follow_the_rules_of_csv_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        open_folder(tmp_path, None)


def test_a_folder_whose_card_names_the_delimiter_is_read_with_it(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: default\n  data_files: train.csv\n  sep: ';'\n---\n"
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "train.csv").write_text("question;answer\n1, 2;a\n")
    assert _records(open_folder(tmp_path, None), "train") == [{"question": "1, 2", "answer": "a"}]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    offsets, content = pyarrow.array([0, 1], pyarrow.int32()).buffers()[1], pyarrow.py_buffer(b"\xff")
    texts = pyarrow.StringArray.from_buffers(1, offsets, content)
    parquet.write_table(pyarrow.table({"question": texts}), tmp_path / "file.parquet")
    with pytest.raises(InputError, match=r"valid text in .*file\.parquet"):
        _records(open_parquet(tmp_path / "file.parquet"))
