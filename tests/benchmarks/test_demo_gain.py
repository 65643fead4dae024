"""The benchmark's arithmetic on summaries written by hand, and its command on a few examples."""

import sys
from pathlib import Path

import pytest

import demo_gain
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import calm_process


def run(before: float, after: float) -> dict[str, object]:
    rows = [{"utility": before}, {"utility": after}]
    return {"validation": [{"utility": 0.5}, {"utility": 0.75}], "test": rows, "iterations": 12, "seconds": 30.0}


def test_the_gain_is_the_mean_difference_on_test_in_points() -> None:
    # 0.40 -> 0.50 and 0.50 -> 0.54: gains of 10 and 4 points, mean 7, standard deviation 6 / sqrt(2) = 4.2426.
    row = demo_gain.summarise([run(0.40, 0.50), run(0.50, 0.54)])
    assert row["gain"] == pytest.approx(7.0)
    assert row["spread"] == pytest.approx(4.242640687)
    assert (row["initial_test"], row["found_test"]) == (pytest.approx(45.0), pytest.approx(52.0))


def test_a_loss_is_shown_as_a_loss() -> None:
    results = {"lists": demo_gain.summarise([run(0.50, 0.45), run(0.50, 0.49)])}
    assert "**-3.0** ± 2.8 | -5.0 to -1.0" in demo_gain.table(results, 2)


def test_every_demo_task_is_measured() -> None:
    from swarm_lightning.demo import TASK_NAMES

    assert set(demo_gain.TASKS) == set(TASK_NAMES)


@pytest.mark.slow
def test_draws_stand_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--data.validation_size", "6", "--data.test_size", "4", "--trainer.max_steps", "1", "--seeds", "1"]
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        arguments = ["--tasks", "kinds", "--draws", "particle", "coefficient", "--output", str(tmp_path / "gain.md")]
        patch.setattr(sys, "argv", ["demo_gain.py", *arguments, *tiny])
        demo_gain.main()
    assert list(last_line(capsys)["tasks"]) == ["kinds", "kinds, coefficient"]
    written = (tmp_path / "gain.md").read_text()
    assert "--tasks kinds --draws particle coefficient --data.validation_size 6" in written
    assert "| kinds, coefficient |" in written
