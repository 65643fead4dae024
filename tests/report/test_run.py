"""What a run folder gives as data frames, against its files, and folders that are none."""

import json
import shutil
from pathlib import Path

import pandas
import pytest

import swarm_lightning
from swarm_lightning.errors import InputError
from swarm_lightning.report.notebook import read_run


def test_a_search_is_read_as_its_files_stand(finished: Path) -> None:
    run = swarm_lightning.read_run(finished)
    summary = json.loads((finished / "summary.json").read_text())
    assert run.kind == "search"
    assert len(run.history) == 5 * 5
    assert run.history.personal_best.max() == summary["validation"][1]["utility"] == run.swarm.global_best.iloc[-1]
    assert run.test.utility.tolist() == [row["utility"] for row in summary["test"]]
    assert [table.shape for table in run.scores.values()] == [(5, 8)] * 5
    assert {split: len(replies) for split, replies in run.replies.items()} == {"validation": 16, "test": 16}
    assert run.best == finished / "best_expert"
    assert run.record["state"] == "ended"


def test_a_run_shows_itself_in_a_notebook(finished: Path) -> None:
    pytest.importorskip("vl_convert")
    shown = read_run(finished)._repr_html_()
    assert "in 4 iterations" in shown
    assert "<svg" in shown


def test_a_run_that_was_cut_off_or_is_of_an_earlier_version_is_read_as_far_as_it_goes(
    finished: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "version_0"))
    for name in ("history.parquet", "run.json", "summary.json"):
        (folder / name).unlink()
    for name in ("sketches", "replies", "best_expert"):
        shutil.rmtree(folder / name)
    with (folder / "history.csv").open("a") as file:
        file.write("5,0.3")  # a row that a kill has cut short
    run, whole = read_run(folder), read_run(finished)
    pandas.testing.assert_frame_equal(
        run.history[run.history.iteration < 5].drop(columns="restarted"),
        whole.history.drop(columns="restarted"),
        check_dtype=False,
    )
    assert (run.record, run.summary, run.best, run.replies, run.sketches) == ({}, {}, None, {}, {})


def test_a_folder_that_is_no_run_is_refused_and_runs_below_it_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not there"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"contains no files of a run"):
        read_run(tmp_path)
    (tmp_path / "version_3").mkdir()
    with pytest.raises(InputError, match=r"It holds version_3"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["history.parquet", "summary.json", "history.csv", "replies/test.parquet"])
def test_a_damaged_file_is_refused_by_name(finished: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "version_0"))
    (folder / name).write_bytes(b'"\xff\x00')
    run = read_run(folder)
    with pytest.raises(InputError, match=Path(name).name):
        _ = run.history, run.summary, run.swarm, run.replies
