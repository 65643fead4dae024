"""What `doors/lm_eval.py` relies on, on every version of the lm-evaluation-harness."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("lm_eval")

from swarm_lightning.data.harness_tasks import load_tasks  # noqa: E402
from swarm_lightning.doors.lm_eval import computes_metric_itself, filter_names, filtered  # noqa: E402

pytestmark = pytest.mark.smoke
DOOR = f"swarm_lightning/doors/lm_eval.py relies on it, and lm-eval is {version('lm_eval')}"
TASK = {
    "task": "sums",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"]},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "filter_list": [
        {"name": "digits", "filter": [{"function": "regex", "regex_pattern": "([0-9]+)"}, {"function": "take_first"}]},
        {"name": "whole", "filter": [{"function": "take_first"}]},
    ],
}


@pytest.fixture
def task(tmp_path: Path) -> Any:
    (tmp_path / "sums.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    settings = {**TASK, "dataset_kwargs": {"data_files": {"test": str(tmp_path / "sums.jsonl")}}}
    (tmp_path / "sums.yaml").write_text(yaml.safe_dump(settings))
    (loaded,) = load_tasks(str(tmp_path / "sums.yaml")).values()
    return loaded.task


def requests_of(task: Any, document: Any) -> list[Any]:
    made = task.construct_requests(doc=document, ctx="1 + 1?", metadata=("sums", 0, 1))
    return made if isinstance(made, list) else [made]


def test_a_task_lists_its_filters_in_order(task: Any) -> None:
    assert filter_names(task) == ["digits", "whole"], f"Expected task._filters to hold them by name: {DOOR}."


@pytest.mark.parametrize(("name", "expected"), [("digits", "2"), ("whole", "It is 2, not 3.")])
def test_replies_go_through_the_filters_and_the_requests_stay(task: Any, name: str, expected: str) -> None:
    (document,) = task.test_docs()
    requests = requests_of(task, document)
    found = filtered(task, name, requests, document, ["It is 2, not 3."])
    assert found == [expected], f"Expected an Instance with a result to be filtered by apply: {DOOR}."
    assert not requests[0].filtered_resps, f"Expected the task's own requests to stay as they are: {DOOR}."


def test_the_harnesss_own_metrics_are_told_from_a_tasks(task: Any) -> None:
    what = f"Expected task._metric_fn_list and get_metric to hold the same function: {DOOR}."
    assert computes_metric_itself(task, "exact_match"), what
    assert not computes_metric_itself(task, "acc"), what
    task._metric_fn_list["exact_match"] = lambda **_: 1.0
    assert not computes_metric_itself(task, "exact_match"), what
