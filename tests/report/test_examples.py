"""Examples with two replies each: what became of them, counted by hand, and texts that stay text."""

import re
from pathlib import Path
from typing import Any

import pandas
import pytest

from swarm_lightning.report.examples import FOUND, INITIAL, examples, tasks_table, wins
from swarm_lightning.report.run import Run
from tests.report.conftest import EVIL

ROOM = 100_000


def run_of(folder: Path, before: list[float], after: list[float], **columns: list[Any]) -> Run:
    """Return a search with these scores on test."""
    (folder / "replies").mkdir()
    rows = [
        {"question": f"q{place} {EVIL}", "choices": None, "gold": "g", "expert": expert, "reply": f"r{place}"}
        | {"score": score, **{name: values[place] for name, values in columns.items()}}
        for expert, scores in ((INITIAL, before), (FOUND, after))
        for place, score in enumerate(scores)
    ]
    pandas.DataFrame(rows).to_parquet(folder / "replies" / "test.parquet")
    return Run(folder, "search")


def kinds_in(page: str) -> list[str]:
    return re.findall(r'<tr class="(\w+)"', page)


def test_right_and_wrong_are_told_where_scores_are_of_two_kinds(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0, 1, 0, 1, 0], [1, 0, 0, 1, 1])
    page = examples(run, ROOM)
    assert kinds_in(page) == ["emerged", "lost", "emerged", "wrong", "right"]
    assert "newly right (2)" in page
    assert EVIL not in page
    assert wins(run) == ""


def test_better_and_worse_are_told_where_scores_are_graded_the_largest_change_first(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.5, 0.5, 0.75, 0.25], [0.75, 1.0, 0.5, 0.25])
    page = examples(run, ROOM)
    assert re.findall(r">q(\d)", page) == ["1", "2", "0", "3"]  # by 0.5, the one that got worse, by 0.25, unchanged
    assert "0.5 to 1" in page
    # Two of four won and one tied: 2.5 of 4.
    assert "win rate of 62.5%" in wins(run)


def test_the_comparison_of_a_judge_is_told_where_a_test_has_asked_for_it(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.5, 0.5], [0.75, 1.0])
    table = f"name,detail,test_utility,examples,win_rate\n{INITIAL},a,0.5,2\n{FOUND},b,0.9,2,0.8125\n"
    (tmp_path / "test.csv").write_text(table)
    assert "prefers it in 81.2%" in wins(run)


def test_examples_of_several_tasks_can_be_filtered_by_task(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0, 1], [1, 0], task=["one", "<b>two"])
    page = examples(run, ROOM)
    assert '<option value="one">' in page
    assert re.findall(r'data-task="([^"]*)"', page) == ["one", "&lt;b&gt;two"]


def test_what_there_is_no_room_for_is_counted_and_its_file_named(tmp_path: Path) -> None:
    page = examples(run_of(tmp_path, [0] * 9, [1] * 9), 500)
    assert 0 < len(kinds_in(page)) < 9
    assert f"{9 - len(kinds_in(page))} more are in replies/test.parquet" in page


@pytest.mark.parametrize("missing", ["before", "after"])
def test_replies_of_one_of_the_two_alone_show_nothing(tmp_path: Path, missing: str) -> None:
    scores = {"before": [0.0, 1.0], "after": [0.0, 1.0], missing: list[float]()}
    assert examples(run_of(tmp_path, **scores), ROOM) == ""


def test_every_task_has_its_scores_before_and_after(tmp_path: Path) -> None:
    rows = [{"name": name, "parts": {"one": 0.5, "two": second}} for name, second in ((INITIAL, 0.25), (FOUND, 0.75))]
    run = Run(tmp_path, "search")
    run.__dict__["summary"] = {"test": rows}
    assert [text for text in re.findall(r">([^<>]+)</td>", tasks_table(run)) if text] == [
        "one", "0.5000", "0.5000", "0", "two", "0.2500", "0.7500", "0.5000",
    ]  # fmt: skip
