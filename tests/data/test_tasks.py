"""Datasets of several tasks: their settings, their splits put together, what is noticed, and prompts for them."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.data.module import SwarmData
from swarm_lightning.data.tasks import join_tasks, settings_by_task
from swarm_lightning.errors import InputError


def write(path: Path, dev: list[tuple[str, str]], test: list[tuple[str, str]]) -> str:
    splits = {"dev": dev, "test": test}
    content = {name: [{"question": q, "answer": a} for q, a in records] for name, records in splits.items()}
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def datasets(tmp_path: Path) -> dict[str, str]:
    return {
        "sums": write(tmp_path / "sums.json", [("1 + 1?", "2"), ("1 + 2?", "3")], [("2 + 2?", "4")]),
        "towns": write(tmp_path / "towns.json", [("Where?", "Rome")], [("Whence?", "Oslo"), ("Whither?", "Bonn")]),
    }


def test_examples_stand_task_after_task_and_their_ids_begin_with_the_task(datasets: dict[str, str]) -> None:
    splits = SwarmData(datasets).splits
    assert splits.validation == (
        Example("1 + 1?", "2", identifier="sums/0", task="sums"),
        Example("1 + 2?", "3", identifier="sums/1", task="sums"),
        Example("Where?", "Rome", identifier="towns/0", task="towns"),
    )
    assert [example.identifier for example in splits.test] == ["sums/0", "towns/0", "towns/1"]
    assert splits.name == "sums: sums, towns: towns"


def test_without_tasks_examples_are_as_they_were(datasets: dict[str, str]) -> None:
    assert SwarmData(datasets["sums"]).splits.test == (Example("2 + 2?", "4", identifier="0"),)


def test_the_fingerprint_covers_tasks(datasets: dict[str, str]) -> None:
    before = SwarmData(datasets).fingerprint
    assert before == SwarmData(datasets).fingerprint
    assert before != SwarmData({"totals": datasets["sums"], "towns": datasets["towns"]}).fingerprint
    one = Example("1?", "1", identifier="a")
    alone = ExampleSplits("", (one,), ())
    assert alone.fingerprint != ExampleSplits("", (Example("1?", "1", identifier="a", task="sums"),), ()).fingerprint


def test_sizes_hold_for_all_tasks_or_for_each(datasets: dict[str, str]) -> None:
    def sizes(**settings: Any) -> list[list[str]]:
        splits = SwarmData(datasets, seed=0, **settings).splits
        return [[example.task for example in split] for split in (splits.validation, splits.test)]

    assert sizes(validation_size=1) == [["sums", "towns"], ["sums", "towns", "towns"]]
    assert sizes(test_size={"towns": 1}) == [["sums", "sums", "towns"], ["sums", "towns"]]
    with pytest.raises(InputError, match="the tasks in test_size to be among sums, towns, but got town"):
        sizes(test_size={"town": 1})


def test_columns_hold_for_all_tasks_or_for_each() -> None:
    both = {"a": "a.json", "b": "b.json"}
    assert [chosen["columns"] for chosen in settings_by_task(both, {"columns": {"answer": "gold"}}).values()] == [
        {"answer": "gold"}
    ] * 2
    of_each = settings_by_task(both, {"columns": {"a": {"answer": "gold"}}})
    assert [of_each[task]["columns"] for task in both] == [{"answer": "gold"}, None]


def test_several_of_a_setting_are_refused_with_one_dataset(datasets: dict[str, str]) -> None:
    with pytest.raises(InputError, match="one validation_size for the one dataset, but got a mapping with sums"):
        _ = SwarmData(datasets["sums"], validation_size={"sums": 1}).splits
    with pytest.raises(InputError, match="one columns for the one dataset"):
        _ = SwarmData(datasets["sums"], columns={"sums": {"answer": "answer"}}).splits


def test_everything_can_come_from_yaml_and_from_flags(datasets: dict[str, str]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SwarmData, "data")
    text = f"""
    data:
      dataset: {json.dumps(datasets)}
      columns: {{sums: {{question: question, answer: answer}}}}
      validation_size: {{sums: 1, towns: null}}
    """
    flags = ["--data.dataset", json.dumps(datasets), "--data.columns", '{"sums": {"answer": "answer"}}']
    flags += ["--data.validation_size", '{"sums": 1}']
    for parsed in (parser.parse_string(text), parser.parse_args(flags)):
        configured = getattr(parser, "instantiate", parser.instantiate_classes)(parsed).data
        assert isinstance(configured, SwarmData)
        assert [example.task for example in configured.splits.validation] == ["sums", "towns"]


def test_a_leak_is_named_with_its_task(tmp_path: Path, datasets: dict[str, str]) -> None:
    datasets["leaky"] = write(tmp_path / "leaky.json", [("1?", "1"), ("1?", "1")], [("1?", "1"), ("2?", "2")])
    notices = {notice.kind: notice.message for notice in SwarmData(datasets).notices}
    assert notices.keys() == {"leak", "duplicates"}
    assert notices["leak"].startswith("Task leaky: LEAK in 'leaky': 1 of 2 test examples stand in the validation split")
    assert notices["duplicates"].startswith("Task leaky: 1 of 2 examples in the validation split of 'leaky' repeat")


def test_a_test_example_of_one_task_that_guides_the_search_in_another_is_a_leak(tmp_path: Path) -> None:
    datasets = {
        "one": write(tmp_path / "one.json", [("1?", "1"), ("2?", "2")], [("3?", "3")]),
        "other": write(tmp_path / "other.json", [("3?", "3"), ("4?", "4")], [("4?", "4"), ("5?", "5")]),
    }
    messages = [notice.message for notice in SwarmData(datasets).notices]
    assert len(messages) == 2
    assert messages[0].startswith("Task one: LEAK in 'one' and the other tasks: 1 of 1 test examples stand")
    assert messages[1].startswith("Task other: LEAK in 'other': 1 of 2 test examples stand")


def test_the_same_dataset_twice_repeats_no_notice(datasets: dict[str, str]) -> None:
    twice = SwarmData({"exact": datasets["sums"], "lenient": datasets["sums"]})
    assert twice.notices == []
    assert len({example.identifier for example in twice.splits.validation}) == 4


def test_an_empty_split_of_one_task_ends_the_run() -> None:
    whole = ExampleSplits("whole", (Example("1?", "1"),), (Example("2?", "2"),))
    joined, notices = join_tasks({"whole": whole, "half": ExampleSplits("half", (Example("1?", "1"),), ())})
    assert [len(joined.validation), len(joined.test)] == [2, 1]
    assert notices[0].severity == "error"
    assert notices[0].message.startswith("Task half: Expected at least one example in the test split of 'half'")


@pytest.mark.parametrize(
    ("prompts", "default", "tasks"),
    [
        ('{"prompt": "a?", "task": "towns"}\n{"prompt": "b?", "task": "sums"}', None, ["towns", "sums"]),
        ('{"prompt": "a?", "task": "towns"}\n{"prompt": "b?"}', "sums", ["towns", "sums"]),
    ],
)
def test_prompts_name_their_task_or_belong_to_the_one_that_is_given(
    prompts: str, default: str | None, tasks: list[str], datasets: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(prompts)
    data = SwarmData(datasets, prompts=str(path), prompts_task=default)
    data.prepare_data()
    assert [[example.task for example in batch] for batch in data.predict_dataloader()] == [tasks]


def test_prompts_of_no_task_are_refused_with_what_to_do(datasets: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a?\n")
    with pytest.raises(InputError, match=r"its task in a column `task` \(sums, towns\).*--data.prompts_task"):
        SwarmData(datasets, prompts=str(path)).prepare_data()
    with pytest.raises(InputError, match="the task of prompt 0 in .* to be among sums, towns, but got 'hills'"):
        SwarmData(datasets, prompts=str(path), prompts_task="hills").prepare_data()
    with pytest.raises(InputError, match="prompts_task only with several tasks, but got 'sums'"):
        SwarmData(datasets["sums"], prompts=str(path), prompts_task="sums").prepare_data()
