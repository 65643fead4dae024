"""The ways to choose, by hand on scores that are written down, and the benchmark itself made small."""

from pathlib import Path

import pytest
import torch

import final_choice
from final_choice import AVERAGE, CANDIDATES, chosen_by, highest, within_one_error
from tests.benchmarks.last_line import last_line

# Means 0.25, 0.75, 0.75 and 1: the last is highest, by 1 of 4 examples over the second, one standard error of that.
SCORES = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]])


def test_the_highest_is_the_first_of_equals() -> None:
    assert highest(SCORES) == 3
    assert highest(SCORES[:3]) == 1


def test_a_simpler_one_within_one_standard_error_is_taken() -> None:
    # The differences 0, 0, 1, 0 have the mean 1/4 and the error sqrt(1/4) / 2 = 1/4; those of the first are far above.
    assert within_one_error(SCORES) == 1


def test_a_held_back_quarter_chooses_by_what_the_search_has_not_seen() -> None:
    count = len(CANDIDATES)
    scores = torch.zeros(count, 4)
    scores[AVERAGE, :3] = 1  # all that it has seen
    scores[2, 3] = 1
    kept = {"seen": [True, True, True, False], "validation": scores.tolist(), "test": torch.eye(count).tolist()}
    tables = {"all": kept, "three_quarters": kept}
    assert chosen_by("highest", tables)["choice"] == AVERAGE
    assert chosen_by("quarter", tables)["choice"] == 2
    assert chosen_by("quarter", tables)["validation"] == 100
    assert chosen_by("always", tables)["validation"] == 75


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--seeds", "1", "--evaluations", "900", "--tasks", "neighbours", "--runs", str(tmp_path / "runs")]
    final_choice.main([*small, "--data.validation_size", "8", "--data.test_size", "6"])
    found = last_line(capsys)
    assert set(found["ways"]) == set(final_choice.WAYS)
    best = found["candidates"]["best possible"]["tasks"]["neighbours"]["test"]
    assert all(row["tasks"]["neighbours"]["test"] <= best + 1e-9 for row in found["candidates"].values())
