"""A short torment: real searches on the demo world, killed and resumed."""

import random
from pathlib import Path

import pytest

import kill_anywhere
from same_run import differences
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import calm_process


@pytest.mark.slow
def test_searches_that_are_killed_end_as_one_that_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "result.md"
    small = ["--trainer.max_steps", "2", "--data.validation_size", "4", "--data.test_size", "2"]
    with calm_process():
        monkeypatch.setattr("sys.argv", ["kill_anywhere.py", "--kills", "3", "--output", str(output), *small])
        with pytest.raises(SystemExit) as ended:
            kill_anywhere.main()
    numbers = last_line(capsys)
    assert ended.value.code == 0, numbers
    assert numbers["kills"] == 3
    assert numbers["searches"] >= 1
    assert numbers["differences"] == numbers["not_resumable"] == []
    assert "| kills | 3 |" in output.read_text()


def test_every_way_to_kill_is_drawn_and_no_time_is_longer_than_a_third_of_the_search() -> None:
    numbers = random.Random(0)
    kills = [kill_anywhere.draw(numbers, calm_seconds=30.0) for _ in range(200)]
    assert {kill.way for kill in kills} == {"time", "half-written", "change"}
    assert {kill.target for kill in kills if kill.way == "change"} == set(kill_anywhere.TARGETS)
    assert max(kill.seconds for kill in kills) <= 10.0


def test_folders_that_differ_are_named(tmp_path: Path) -> None:
    for name, best, seconds in (("one", "0.5", "1.0"), ("other", "0.25", "2.0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.csv").write_text(f"iteration,best,evaluation_seconds\n0,{best},{seconds}\n")
    assert differences(tmp_path / "one", tmp_path / "other") == ["history.csv: row 0"]
    (tmp_path / "other" / "history.csv").write_text("iteration,best,evaluation_seconds\n0,0.5,9.0\n")
    assert differences(tmp_path / "one", tmp_path / "other") == []
    (tmp_path / "other" / "summary.json").write_text('{"seconds": 1.0, "iterations": 2}')
    assert differences(tmp_path / "one", tmp_path / "other") == ["summary.json is in one of them only"]
    (tmp_path / "one" / "summary.json").write_text('{"seconds": 2.0, "iterations": 2}')
    assert differences(tmp_path / "one", tmp_path / "other") == []
