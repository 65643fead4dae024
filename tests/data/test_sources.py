"""What a dataset setting names."""

from pathlib import Path

import pytest

from swarm_lightning.data.sources import open_source
from swarm_lightning.errors import InputError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("file.json", '[{"question": "1"}]'),
        ("file.JSON", '[{"question": "1"}]'),
        ("file.jsonl", '{"question": "1"}\n'),
        ("file.ndjson", '{"question": "1"}\n'),
        ("file.csv", "question\n1\n"),
        ("file.tsv", "question\n1\n"),
    ],
)
def test_the_ending_says_how_a_file_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    source = open_source(str(tmp_path / name))
    assert source.name == "file"
    assert list(source.splits[""]().records) == [{"question": "1"}]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.xlsx").write_text("")
    with pytest.raises(InputError, match=r"ends in \.json, .*file\.xlsx"):
        open_source(str(tmp_path / "file.xlsx"))


def test_a_path_that_does_not_exist_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "arithmetic.json").write_text("[]")
    with pytest.raises(InputError, match=r"there is none\. Did you mean '.*tasks/arithmetic\.json'"):
        open_source(str(tmp_path / "tasks" / "aritmetic.json"))
    with pytest.raises(InputError, match=r"Did you mean '.*/tasks'"):
        open_source(str(tmp_path / "task" / "arithmetic.json"))


def test_a_name_with_a_file_ending_never_asks_the_hub() -> None:
    with pytest.raises(InputError, match="Expected a file or folder at 'owner/name.parquet'"):
        open_source("owner/name.parquet")


def test_a_file_has_no_subset(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text("[]")
    with pytest.raises(InputError, match="no subset for the file"):
        open_source(str(tmp_path / "file.json"), "main")


def test_an_unknown_part_of_the_demo_world_is_refused() -> None:
    with pytest.raises(InputError, match="demo world"):
        open_source("demo:tasks/nothing.json")
