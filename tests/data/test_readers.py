"""From a setting to two splits."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from swarm_lightning.data.checks import check_splits
from swarm_lightning.data.examples import Example
from swarm_lightning.data.readers import read_splits
from swarm_lightning.errors import InputError

# Validation and test sizes, counted in the files.
SHARED_SIZES = {
    "citation_prediction_classification": (108, 108),
    "gsm8k": (200, 1000),
    "hearsay": (94, 94),
    "hellaswag": (200, 1000),
    "human_asian_food": (25, 25),
    "human_cartoons": (25, 25),
    "human_drone_AI": (25, 25),
    "human_electric_vehicles": (25, 25),
    "human_finance": (25, 25),
    "human_legal_AI": (25, 25),
    "human_luxury_car": (25, 25),
    "human_music_instrument": (25, 25),
    "human_olympics": (25, 25),
    "human_phd_application": (25, 25),
    "human_plastic": (25, 25),
    "human_policy": (25, 25),
    "human_sandbox_games": (25, 25),
    "human_social_network": (25, 25),
    "human_south_america": (25, 25),
    "human_us_tourism": (25, 25),
    "knowledge_crosswords": (200, 1000),
    "medmcqa": (200, 1000),
    "medqa": (200, 1000),
    "mmlu": (200, 1000),
    "mmlu_pro": (70, 1000),
    "nlgraph": (200, 1000),
    "normad_country": (500, 2000),
    "normad_value": (500, 2000),
    "realtoxicityprompts": (200, 1000),
    "rm": (200, 550),
    "scifact": (200, 532),
    "stem": (30, 473),
    "truthfulqa": (200, 617),
}


def _numbered(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"question": f"{number} + 1?", "answer": number + 1} for number in range(first, first + count)]


def _write(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def _questions(examples: tuple[Example, ...]) -> list[str]:
    return [example.question for example in examples]


def test_both_splits_of_the_json_form_keep_their_order_and_sizes(tmp_path: Path) -> None:
    content = {
        "dataset": "capitals",
        "icl_prompt": "Name it.",
        "dev": [
            {"question": "France?", "choices": {"A": "Paris", "B": "Rome"}, "answer": "A", "id": "f", "domain": "eu"}
        ],
        "test": [{"question": "1 + 1?", "answer": "2"}, {"question": "2 + 2?", "answer": 4}],
    }
    splits = read_splits(_write(tmp_path / "file.json", content))
    assert splits.name == "capitals"
    assert splits.validation == (
        Example("France?", "A", {"A": "Paris", "B": "Rome"}, "f", "Name it.", {"domain": "eu"}),
    )
    assert splits.test == (
        Example("1 + 1?", "2", None, "0", "Name it."),
        Example("2 + 2?", "4", None, "1", "Name it."),
    )
    assert splits.notices == ()


def test_a_second_file_gives_the_test_split(tmp_path: Path) -> None:
    first = tmp_path / "first.jsonl"
    first.write_text("\n".join(json.dumps(record) for record in _numbered(3)))
    second = tmp_path / "second.csv"
    second.write_text("question,answer\n5 + 1?,6\n")
    splits = read_splits(str(first), str(second))
    assert splits.name == "first"
    assert _questions(splits.validation) == ["0 + 1?", "1 + 1?", "2 + 1?"]
    assert splits.test == (Example("5 + 1?", "6", identifier="0"),)


def test_from_one_list_200_and_1000_are_drawn_without_a_common_record(tmp_path: Path) -> None:
    path = _write(tmp_path / "list.json", _numbered(1500))
    splits = read_splits(path, seed=1)
    assert (len(splits.validation), len(splits.test)) == (200, 1000)
    assert len({*_questions(splits.validation), *_questions(splits.test)}) == 1200
    assert splits.fingerprint == read_splits(path, seed=1).fingerprint
    assert splits.fingerprint != read_splits(path, seed=2).fingerprint
    assert [notice.kind for notice in splits.notices] == ["sampled"]
    number = splits.test[0].identifier
    assert splits.test[0].question == f"{number} + 1?", "the id is the record's index in the file"


def test_a_list_that_is_too_short_is_shared_out_and_noticed(tmp_path: Path) -> None:
    splits = read_splits(_write(tmp_path / "list.json", _numbered(9)), seed=0)
    assert (len(splits.validation), len(splits.test)) == (4, 5)
    assert [(notice.kind, notice.severity) for notice in splits.notices] == [
        ("sampled", "info"),
        ("few records", "warning"),
    ]


def test_sizes_that_are_given_are_drawn_from_two_splits_too(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.json", {"dev": _numbered(20), "test": _numbered(30, first=100)})
    splits = read_splits(path, validation_size=5, seed=3)
    assert (len(splits.validation), len(splits.test)) == (5, 30)
    assert set(_questions(splits.validation)) < {f"{number} + 1?" for number in range(20)}
    with pytest.raises(InputError, match="test_size to be at most 30"):
        read_splits(path, test_size=31)


def test_records_that_cannot_be_scored_are_left_out_and_named(tmp_path: Path) -> None:
    choices = {"A": "yes", "B": "no"}
    dev = [
        {"question": "1?", "choices": choices, "answer": "A", "id": "right"},
        {"question": "2?", "choices": choices, "answer": "E", "id": "wrong"},
        {"question": "3?", "choices": choices, "id": "open"},
    ]
    splits = read_splits(_write(tmp_path / "file.json", {"dev": dev, "test": dev[:1]}))
    assert [example.identifier for example in splits.validation] == ["right"]
    assert [(notice.kind, notice.identifiers) for notice in splits.notices] == [
        ("no answer", ("open",)),
        ("answer not among the choices", ("wrong",)),
    ]
    assert "left out" in splits.notices[0].message


def test_a_split_with_nothing_that_can_be_scored_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.json", {"dev": _numbered(1), "test": [{"question": "hidden?"}]})
    with pytest.raises(InputError, match="at least one record in .*'test'.* 1 of 1 records .* no answer"):
        read_splits(path)


def test_an_empty_split_and_an_empty_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'test'.*it is empty"):
        read_splits(_write(tmp_path / "file.json", {"dev": _numbered(1), "test": []}))
    with pytest.raises(InputError, match="list.json, but it is empty"):
        read_splits(_write(tmp_path / "list.json", []))


def test_a_dataset_on_disk_with_mapped_columns_and_named_splits(tmp_path: Path) -> None:
    records = [{"sentence": f"{number}?", "gold": number % 2, "one": "even", "two": "odd"} for number in range(6)]
    DatasetDict(train=Dataset.from_list(records[:4]), test=Dataset.from_list(records[4:])).save_to_disk(
        tmp_path / "set"
    )
    columns: dict[str, str | list[str] | None] = {"question": "sentence", "answer": "gold", "choices": ["one", "two"]}
    with pytest.raises(InputError, match="named validation or dev or val or valid in .* there are 'train', 'test'"):
        read_splits(str(tmp_path / "set"), columns=columns)
    splits = read_splits(str(tmp_path / "set"), validation_split="train", columns=columns)
    assert len(splits.validation) == 4
    assert splits.test[1] == Example("5?", "B", {"A": "even", "B": "odd"}, "1")


def test_the_same_split_for_both_is_shared_out(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.json", {"dev": _numbered(8), "test": _numbered(2)})
    splits = read_splits(path, validation_split="dev", test_split="validation", test_size=3, seed=0)
    assert (len(splits.validation), len(splits.test)) == (5, 3)
    assert not {*_questions(splits.validation)} & {*_questions(splits.test)}


def test_an_unknown_split_is_answered_with_those_there_are(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.json", {"dev": _numbered(8), "test": _numbered(2)})
    with pytest.raises(InputError, match="test_split .* 'validation', 'test', but got 'tset'. Did you mean 'test'"):
        read_splits(path, test_split="tset")
    with pytest.raises(InputError, match="no test_split for .* one split only"):
        read_splits(_write(tmp_path / "list.json", _numbered(3)), test_split="test")


def test_an_object_of_splits_takes_the_settings_of_a_dataset_with_splits(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.json", {"train": _numbered(20), "test": _numbered(3, 50), "hard": _numbered(4, 90)})
    with pytest.raises(InputError, match="there are 'train', 'test', 'hard'. Say with validation_split"):
        read_splits(path)
    splits = read_splits(path, validation_split="train", test_split="hard", validation_size=5, seed=0)
    assert (len(splits.validation), _questions(splits.test)) == (5, [f"{number} + 1?" for number in range(90, 94)])
    both = read_splits(path, validation_split="train", test_split="train", validation_size=5, test_size=6, seed=0)
    assert len({*_questions(both.validation), *_questions(both.test)}) == 11
    with pytest.raises(InputError, match="Did you mean 'train'"):
        read_splits(path, validation_split="trian")


def test_of_train_validation_and_test_the_training_split_is_not_touched(tmp_path: Path) -> None:
    content = {"train": _numbered(3), "validation": _numbered(2, 50), "test": _numbered(2, 90)}
    splits = read_splits(_write(tmp_path / "file.json", content))
    assert (_questions(splits.validation), _questions(splits.test)) == (
        ["50 + 1?", "51 + 1?"],
        ["90 + 1?", "91 + 1?"],
    )


@pytest.mark.shared
@pytest.mark.parametrize("name", SHARED_SIZES)
def test_the_public_files_load_with_their_true_sizes(shared_folder: Path, name: str) -> None:
    splits = read_splits(str(shared_folder / "data" / "model_swarms" / f"{name}.json"))
    assert (len(splits.validation), len(splits.test)) == SHARED_SIZES[name]
    assert splits.notices == ()
    leaks = [notice for notice in check_splits(splits) if notice.kind == "leak"]
    assert bool(leaks) == (name in {"hearsay", "citation_prediction_classification"})


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hearsay", "94 of 94 test examples stand in the validation split too"),
        ("citation_prediction_classification", "48 of 108 test examples .*; 60 more .* in another order"),
    ],
)
def test_the_two_leaking_files_are_reported_with_their_counts(shared_folder: Path, name: str, message: str) -> None:
    leak = check_splits(read_splits(str(shared_folder / "data" / "model_swarms" / f"{name}.json")))[0]
    assert leak.kind == "leak"
    assert re.search(message, leak.message)
