"""The table of several tasks: means with their intervals, published scores beside, and what it is made of."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.cli.many_searches.task_table import (
    Score,
    markdown,
    mean_of,
    of_comparisons,
    of_sweeps,
    read_published,
    write_task_table,
)
from swarm_lightning.errors import InputError
from swarm_lightning.report.run import open_run

COMPARED = ["method", "title", "sign", "test", "test_low", "test_high"]
COMPARED += ["difference", "difference_low", "difference_high"]


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path.parent


def compared(folder: Path, soup: float, swarm: float) -> Path:
    """The table of a comparison whose intervals reach 0.03 to each side, and 0.04 those of differences."""
    rows: list[list[object]] = [
        ["uniform_soup", "uniform soup", "", soup, soup - 0.03, soup + 0.03]
        + [soup - swarm, soup - swarm - 0.04, soup - swarm + 0.04],
        ["cbtm", "cBTM", "‡", "", "", "", "", "", ""],  # absent
        ["model_swarm", "model swarm", "", swarm, swarm - 0.03, swarm + 0.03, "", "", ""],
    ]
    return write(folder / "compare.csv", *(dict(zip(COMPARED, row, strict=True)) for row in rows))


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {
        "sums": compared(tmp_path / "sums", 0.4, 0.5),
        "towns": compared(tmp_path / "towns", 0.6, 0.5),
        "a": compared(tmp_path / "a", 0.5, 0.6),
        "b|c": compared(tmp_path / "b|c", 0.7, 0.8),
    }


def test_the_intervals_of_independent_tasks_add_up_in_squares(folders: dict[str, Path]) -> None:
    soup, swarm = of_comparisons(folders, {}).rows
    # Four intervals of 0.03: the square root of 4 times 0.03 squared is 0.06, and a fourth of that 0.015.
    assert mean_of(soup.scores, list(folders)) == Score(0.55, 0.535, 0.565)
    assert mean_of(swarm.scores, list(folders)) == Score(0.6, 0.585, 0.615)
    difference = mean_of(soup.differences, list(folders))
    assert difference is not None
    assert (difference.value, difference.low, difference.high) == pytest.approx((-0.05, -0.07, -0.03))


def test_a_published_score_stands_below_ours(folders: dict[str, Path], tmp_path: Path) -> None:
    published = {"slerp": {"sums": 0.45}, "model_swarm": {"sums": 0.52, "towns": 0.58}}
    table = of_comparisons(folders, published)
    assert [row.title for row in table.rows] == [
        "uniform soup", "model swarm", "model swarm, published", "SLERP, published",
    ]  # fmt: skip
    assert markdown(table).splitlines()[:6] == [
        "| method | sums | towns | a | b\\|c | mean | less model swarm |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| uniform soup | 0.4000 | 0.6000 | 0.5000 | 0.7000 | 0.5500 [0.5350, 0.5650] | -0.0500 [-0.0700, -0.0300] |",
        "| model swarm | 0.5000 | 0.5000 | 0.6000 | 0.8000 | 0.6000 [0.5850, 0.6150] |  |",
        "| model swarm, published | 0.5200 | 0.5800 |  |  |  |  |",
        "| SLERP, published | 0.4500 |  |  |  |  |  |",
    ]
    write_task_table(table, tmp_path)
    with (tmp_path / "tasks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["published"], row["sums"], row["a"]) for row in rows] == [
        ("false", "0.4", "0.5"), ("false", "0.5", "0.6"), ("true", "0.52", ""), ("true", "0.45", ""),
    ]  # fmt: skip
    assert rows[0]["mean_low"] == "0.535"
    assert (rows[2]["mean"], rows[1]["difference"]) == ("", "")
    assert open_run(tmp_path).kind == "tasks"
    assert open_run(tmp_path).tasks["sums"].tolist() == [0.4, 0.5, 0.52, 0.45]


def test_a_mean_waits_for_all_tasks(folders: dict[str, Path], tmp_path: Path) -> None:
    table = of_comparisons({**folders, "later": tmp_path / "later"}, {})
    assert table.tasks == (*folders, "later")
    assert all(mean_of(row.scores, table.tasks) is None for row in table.rows)


def test_a_sweep_gives_its_best_search_by_validation_with_its_gain(tmp_path: Path) -> None:
    gain = {"difference": 0.2, "low": 0.16, "high": 0.23}
    folders = {}
    for task in ("sums", "towns"):
        trials = [tmp_path / task / f"trial_{number:04d}" for number in range(3)]
        for trial in trials:
            trial.mkdir(parents=True)
            (trial / "summary.json").write_text(json.dumps({"test": [{}, {"gain": gain}]}))
        rows: list[dict[str, Any]] = [
            {"trial": 0, "state": "ended", "validation_utility": 0.6, "test_utility": 0.9},
            {"trial": 1, "state": "ended", "validation_utility": 0.7, "test_utility": 0.5},
            {"trial": 2, "state": "pruned", "validation_utility": 0.8, "test_utility": ""},
        ]
        rows = [{**row, "initial_test_utility": 0.3, "folder": trials[int(row["trial"])]} for row in rows]
        folders[task] = write(tmp_path / task / "sweep.csv", *rows)
    initial, found = of_sweeps(folders, {}).rows
    assert mean_of(initial.scores, list(folders)) == Score(0.3)
    assert mean_of(found.scores, list(folders)) == Score(0.5)
    mean = mean_of(found.differences, list(folders))
    assert mean is not None
    # Half of the square root of two squares: 0.04 / sqrt 2 below and 0.03 / sqrt 2 above.
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.2, 0.2 - 0.04 / 2**0.5, 0.2 + 0.03 / 2**0.5))


def test_published_scores_are_read_by_method_and_task(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_text("# where they come from\nmethod,sums,other,towns\nmodel_swarm,0.5,0.6,0.7\nslerp,,0.1,0.2\n")
    assert read_published(str(path), ["towns", "sums"]) == {
        "model_swarm": {"towns": 0.7, "sums": 0.5}, "slerp": {"towns": 0.2},
    }  # fmt: skip
    assert read_published({"sums": 1}, ["towns", "sums"]) == {"model_swarm": {"sums": 1.0}}
    assert read_published(None, ["towns"]) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task,sums\nmodel_swarm,0.5\n", "but it has task, sums"),
        ("method,others\nmodel_swarm,0.5\n", "some of these tasks"),
        ("method,sums\n", "no rows"),
        ("method,sums\nmodel_swarm,58.4%\n", "sums has '58.4%'"),
    ],
)
def test_a_file_that_holds_no_published_scores_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_published(str(path), ["sums", "towns"])


def test_a_published_score_of_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match="one of 'atlas'"):
        read_published({"atlas": 0.5}, ["sums", "towns"])
    with pytest.raises(InputError, match="can't be read"):
        read_published("nowhere.csv", ["sums", "towns"])
