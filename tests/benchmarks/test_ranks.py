"""The benchmark of several ranks: its arithmetic by hand, and one small run of it."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def ranks() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "ranks.py"
    specification = importlib.util.spec_from_file_location("benchmark_ranks", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_ratio_is_taken_within_each_turn(ranks: ModuleType) -> None:
    # Turns of 2 / 1, 30 / 20 and 4 / 4: ratios 2, 1.5 and 1, whose median is 1.5.
    seconds = {1: [2.0, 30.0, 4.0], 2: [1.0, 20.0, 4.0]}
    assert ranks.speed_up(seconds, 2) == pytest.approx(1.5)
    assert "| 2 | 4.000 | 1.50 |" in ranks.table(seconds)


def test_another_search_is_noticed(ranks: ModuleType) -> None:
    rows = [{"mean": "0.5", "evaluation_seconds": "1"}]
    assert not ranks.same_search(rows, [{"mean": "0.6", "evaluation_seconds": "1"}])
    assert not ranks.same_search(rows, rows * 2)


@pytest.mark.slow
def test_a_small_run_measures_a_real_search(
    ranks: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--ranks", "1", "--turns", "1", "--iterations", "1", "--output", str(tmp_path / "ranks.md")]
    ranks.main([*small, "--data.validation_size", "4", "--model.objective.max_new_tokens", "1"])
    printed = capsys.readouterr().out.splitlines()
    numbers = json.loads(printed[-1])
    assert numbers["seconds"].keys() == {"1"}
    assert len(numbers["seconds"]["1"]) == 1
    assert numbers["speed_up"] == {"1": 1.0}
    assert "| 1 |" in (tmp_path / "ranks.md").read_text()


@pytest.mark.slow
def test_the_shape_of_a_real_model_is_searched_too(ranks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    ranks.main(["--regime", "real", "--size", "tiny", "--ranks", "2", "--turns", "1", "--iterations", "2"])
    printed = capsys.readouterr().out.splitlines()
    assert len(json.loads(printed[-1])["seconds"]["2"]) == 1
