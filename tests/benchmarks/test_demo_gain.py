"""The benchmark's arithmetic, on summaries written by hand."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def demo_gain() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "demo_gain.py"
    specification = importlib.util.spec_from_file_location("demo_gain", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run(before: float, after: float) -> dict[str, object]:
    rows = [{"utility": before}, {"utility": after}]
    return {"validation": [{"utility": 0.5}, {"utility": 0.75}], "test": rows, "iterations": 12, "seconds": 30.0}


def test_the_gain_is_the_mean_difference_on_test_in_points(demo_gain: ModuleType) -> None:
    # 0.40 -> 0.50 and 0.50 -> 0.54: gains of 10 and 4 points, mean 7, standard deviation 6 / sqrt(2) = 4.2426.
    row = demo_gain.summarise([run(0.40, 0.50), run(0.50, 0.54)])
    assert row["gain"] == pytest.approx(7.0)
    assert row["spread"] == pytest.approx(4.242640687)
    assert (row["initial_test"], row["found_test"]) == (pytest.approx(45.0), pytest.approx(52.0))


def test_a_loss_is_shown_as_a_loss(demo_gain: ModuleType) -> None:
    results = {"lists": demo_gain.summarise([run(0.50, 0.45), run(0.50, 0.49)])}
    assert "**-3.0** ± 2.8 | -5.0 to -1.0" in demo_gain.table(results, 2)


def test_every_demo_task_is_measured(demo_gain: ModuleType) -> None:
    from swarm_lightning.demo import TASK_NAMES

    assert set(demo_gain.TASKS) == set(TASK_NAMES)
