"""Files with prompts."""

from pathlib import Path

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.data.prompts import read_prompts
from swarm_lightning.errors import InputError


def test_every_line_of_a_text_file_that_is_not_empty_is_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("Tell me.\n\n  \nWhat {is} it?\n")
    assert read_prompts(str(path))[0] == [Example("Tell me.", identifier="0"), Example("What {is} it?", identifier="1")]


def test_records_are_prompts_or_questions_with_choices(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "Tell me."}\n{"question": "?", "choices": ["x", "y"], "answer": "y", "id": "q"}\n')
    assert read_prompts(str(path))[0] == [
        Example("Tell me.", identifier="0"),
        Example("?", "B", {"A": "x", "B": "y"}, "q"),
    ]


def test_of_a_file_with_two_splits_the_test_split_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('{"dev": [{"prompt": "one"}], "test": [{"prompt": "two"}]}')
    assert [example.question for example in read_prompts(str(path))[0]] == ["two"]


def test_prompts_of_broken_text_are_mended_and_named(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one"}\n{"prompt": "two \\ud83d"}\n')
    prompts, (notice,) = read_prompts(str(path))
    assert [prompt.question for prompt in prompts] == ["one", "two \ufffd"]
    assert (notice.kind, notice.severity, notice.identifiers) == ("broken text", "warning", ("1",))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_first_prompt(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("Où?\n", encoding=encoding)
    assert [prompt.question for prompt in read_prompts(str(path))[0]] == ["Où?"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.txt", "\n \n", "at least one prompt"),
        ("empty.json", "[]", "it is empty"),
        ("empty.jsonl", "", "it is empty"),
        ("other.jsonl", '{"text": "?"}', "'question' or 'prompt' in .* record 0 lacks it; there are: text"),
        ("blank.jsonl", '{"prompt": "?"}\n{"prompt": " "}', "that of record 1 is empty"),
    ],
)
def test_a_file_without_prompts_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_prompts(str(tmp_path / name))


def test_a_file_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("?")
    with pytest.raises(InputError, match=r"there is none\. Did you mean '.*prompts\.txt'"):
        read_prompts(str(tmp_path / "promts.txt"))
