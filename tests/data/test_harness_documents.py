"""What becomes of the documents of a harness's task: which guide the search, which test, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_lightning.data.module import SwarmData
from swarm_lightning.data.readers import read_splits
from swarm_lightning.data.sources import open_source
from swarm_lightning.errors import InputError
from tests.objectives.local_tasks import CHOICE, REPLY, documents, write_task

TRAINING, VALIDATION, TEST = documents(9, 100), documents(5), documents(7, 50)


def asked(examples: Any) -> set[str]:
    return {example.extras["lm_eval_document"]["question"] for example in examples}


def questions(rows: list[dict[str, Any]]) -> set[str]:
    return {row["question"] for row in rows}


def test_without_the_harness_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"package lm_eval.*pip install 'swarm-lightning\[lm-eval\]'"):
        open_source(f"lm_eval:{tmp_path}")


class TestWithTheHarness:
    @pytest.fixture(autouse=True)
    def _harness(self) -> None:
        pytest.importorskip("lm_eval")

    @pytest.mark.parametrize(
        ("splits", "guides", "tests"),
        [
            ({"training": TRAINING, "validation": VALIDATION, "test": TEST}, VALIDATION, TEST),
            ({"validation": VALIDATION, "test": TEST}, VALIDATION, TEST),
            ({"training": TRAINING, "test": TEST}, TRAINING, TEST),
            # The harness evaluates the validation documents of a task without test documents.
            ({"training": TRAINING, "validation": VALIDATION}, TRAINING, VALIDATION),
        ],
        ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
    )
    def test_what_the_harness_evaluates_is_held_back_and_something_else_guides(
        self, splits: Any, guides: Any, tests: Any, tmp_path: Path
    ) -> None:
        read = read_splits(write_task(tmp_path, "roles", CHOICE, splits))
        assert [example.extras["lm_eval_document"] for example in read.validation] == guides
        assert [example.extras["lm_eval_document"] for example in read.test] == tests
        assert [(notice.kind, notice.severity) for notice in read.notices] == [("splits", "info")]

    def test_all_documents_can_be_named_as_a_split(self, tmp_path: Path) -> None:
        splits = {"training": TRAINING, "validation": VALIDATION, "test": TEST}
        spec = write_task(tmp_path, "named", CHOICE, splits)
        read = read_splits(spec, validation_split="training", validation_size=4)
        assert asked(read.validation) < questions(TRAINING)
        with pytest.raises(InputError, match="to be among 'validation', 'test', 'training', but got 'trainig'"):
            read_splits(spec, validation_split="trainig")

    @pytest.mark.parametrize("splits", [{"test": TEST}, {"validation": TEST}], ids=lambda value: next(iter(value)))
    def test_documents_of_one_kind_are_shared_out_without_overlap(self, splits: Any, tmp_path: Path) -> None:
        data = SwarmData(write_task(tmp_path, "single", CHOICE, splits), validation_size=3, test_size=4, seed=1)
        assert asked(data.splits.validation) | asked(data.splits.test) == questions(TEST)
        assert not asked(data.splits.validation) & asked(data.splits.test)
        (notice,) = (notice for notice in data.notices if notice.kind == "one split")
        assert notice.severity == "warning"
        assert f"{next(iter(splits))} documents only" in notice.message

    def test_one_split_under_two_names_is_one_split(self, tmp_path: Path) -> None:
        spec = write_task(tmp_path, "twice", CHOICE, {"test": TEST}, validation_split="test")
        assert list(open_source(spec).splits) == [""]

    def test_an_example_can_be_read_by_people(self, tmp_path: Path) -> None:
        spec = write_task(tmp_path, "shown", CHOICE, {"validation": VALIDATION, "test": TEST})
        example = read_splits(spec).test[2]
        row = TEST[2]
        assert example.question.splitlines() == [f"Question: {row['question']}", "Answer:", *row["choices"]]
        assert (example.answer, example.identifier) == (row["choices"][row["label"]], "shown/test/2")

    def test_a_document_without_a_text_is_told_by_its_choices_and_is_not_left_out(self, tmp_path: Path) -> None:
        rows = [{**row, "choices": [f"this {number}", f"that {number}"], "label": 0} for number, row in enumerate(TEST)]
        spec = write_task(tmp_path, "pairs", CHOICE, {"validation": VALIDATION, "test": rows}, doc_to_text="")
        read = read_splits(spec)
        assert len(read.test) == len(rows)
        assert (read.test[1].question, read.test[1].answer) == ("this 1\nthat 1", "this 1")

    def test_a_group_is_all_documents_of_its_tasks(self, tmp_path: Path) -> None:
        for name, rows in (("first", TEST), ("second", VALIDATION)):
            write_task(tmp_path, name, CHOICE, {"validation": rows[:3], "test": rows[3:]})
        (tmp_path / "both.yaml").write_text(yaml.safe_dump({"group": "both", "task": ["first", "second"]}))
        read = read_splits(f"lm_eval:{tmp_path}")
        assert [example.identifier for example in read.validation] == [
            f"{name}/validation/{index}" for name in ("first", "second") for index in range(3)
        ]
        assert asked(read.test) == questions([*TEST[3:], *VALIDATION[3:]])

    def test_a_group_whose_tasks_do_not_all_have_both_splits_is_refused(self, tmp_path: Path) -> None:
        write_task(tmp_path, "first", CHOICE, {"validation": VALIDATION, "test": TEST})
        write_task(tmp_path, "second", CHOICE, {"test": TRAINING})
        (tmp_path / "both.yaml").write_text(yaml.safe_dump({"group": "both", "task": ["first", "second"]}))
        with pytest.raises(InputError, match="'second' has test documents only, unlike 'first'"):
            open_source(f"lm_eval:{tmp_path}")

    def test_a_folder_with_several_tasks_is_refused(self, tmp_path: Path) -> None:
        for name in ("first", "second"):
            write_task(tmp_path, name, CHOICE, {"test": TEST})
        with pytest.raises(InputError, match="there are 2: first, second. Name the YAML of one"):
            open_source(f"lm_eval:{tmp_path}")

    def test_random_numbers_of_a_task_are_its_own(self, tmp_path: Path) -> None:
        import random

        (tmp_path / "shuffling.py").write_text(
            "import random\ndef shuffle(rows):\n    return rows.map(lambda row: {'drawn': random.random()})\n"
        )
        spec = write_task(tmp_path, "drawing", CHOICE, {"validation": VALIDATION, "test": TEST})
        path = tmp_path / "drawing.yaml"
        path.write_text(path.read_text() + "process_docs: !function shuffling.shuffle\n")
        from swarm_lightning.data.harness_tasks import load_tasks

        drawn = []
        for seed in (1, 2):
            load_tasks.cache_clear()
            random.seed(seed)
            expected = random.Random(seed).random()
            read = read_splits(spec)
            drawn.append([example.extras["lm_eval_document"]["drawn"] for example in (*read.validation, *read.test)])
            assert random.random() == expected
        assert drawn[0] == drawn[1]
        assert len(set(drawn[0][: len(VALIDATION)])) == len(VALIDATION)

    @pytest.mark.slow
    def test_an_unknown_task_is_answered_with_the_nearest(self) -> None:
        with pytest.raises(InputError, match="there is no 'arc_esy'. Did you mean 'arc_easy'"):
            open_source("lm_eval:arc_esy")

    def test_what_can_not_be_loaded_is_refused_in_one_message(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"YAML of a task at '.*nothing\.yaml', but there is none"):
            open_source(f"lm_eval:{tmp_path / 'nothing.yaml'}")
        with pytest.raises(InputError, match="no subset"):
            open_source("lm_eval:demo:harness/kinds.yaml", subset="kinds")
        (tmp_path / "broken.yaml").write_text("task: [broken\n")
        with pytest.raises(InputError, match=r"task in '.*broken\.yaml'"):
            open_source(f"lm_eval:{tmp_path / 'broken.yaml'}")
        spec = write_task(tmp_path, "gone", CHOICE, {"test": TEST})
        (tmp_path / "gone-test.jsonl").unlink()
        with pytest.raises(InputError, match=r"with its dataset .* raised FileNotFoundError.*Check"):
            open_source(spec)

    def test_a_task_without_documents_to_test_with_is_refused(self, tmp_path: Path) -> None:
        spec = write_task(tmp_path, "untested", CHOICE, {"training": TRAINING})
        with pytest.raises(InputError, match="must have valid or test docs"):
            open_source(spec)

    def test_a_task_whose_template_does_not_fit_its_documents_is_refused(self, tmp_path: Path) -> None:
        rows = [{**row, "extra": "1"} for row in TEST]
        lacking = json.loads(json.dumps(rows))
        for row in lacking[3:]:
            del row["extra"]
        spec = write_task(
            tmp_path, "holes", REPLY, {"test": lacking}, doc_to_text="{{extra + ' is more than ' + answer}}"
        )
        with pytest.raises(InputError, match=r"text of document 3 \(test\) of 'holes'.*TypeError"):
            read_splits(spec)
