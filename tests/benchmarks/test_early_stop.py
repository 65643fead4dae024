"""What the stops leave out: the arithmetic by hand, and real searches at a tiny size where the stops are there."""

import pytest
import torch

import early_stop
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import calm_process


def found(on: float, off: float, tokens: float, different: tuple[str, ...] = ()) -> dict[str, dict[str, object]]:
    parts = {"on": on, "off": off, "tokens": tokens}
    return {name: {"left_out": value, "different": list(different)} for name, value in parts.items()}


def test_the_mean_is_taken_over_tasks_and_seeds() -> None:
    # Repel on: (0.2 + 0.4 + 0.3) / 3 = 0.3; off: (0.4 + 0.5 + 0.6) / 3 = 0.5; tokens: (0.6 + 0.6 + 0.9) / 3 = 0.7.
    results = {"atlas": {0: found(0.2, 0.4, 0.6), 1: found(0.4, 0.5, 0.6)}, "kinds": {0: found(0.3, 0.6, 0.9)}}
    text, means = early_stop.text_of(results)
    assert means == {"on": pytest.approx(0.3), "off": pytest.approx(0.5), "tokens": pytest.approx(0.7)}
    assert "DIFFERENT" not in text


def test_a_search_that_went_elsewhere_is_named_in_the_table() -> None:
    text, _ = early_stop.text_of({"atlas": {0: found(0.2, 0.4, 0.6, ("positions",))}})
    assert "20.0% DIFFERENT" in text


def test_one_bit_in_one_tensor_is_a_difference() -> None:
    one = early_stop.Run(1, 1, {"positions": torch.zeros(2, 2), "restarts": torch.zeros(2, dtype=torch.int64)})
    other = early_stop.Run(1, 1, {"positions": torch.zeros(2, 2), "restarts": torch.tensor([0, 1])})
    assert early_stop.differences(one, one) == []
    assert early_stop.differences(one, other) == ["restarts"]


@pytest.mark.slow
@pytest.mark.skipif(not early_stop.engine_is_there(), reason="the search has no engine settings yet")
def test_the_stops_change_no_trajectory(capsys: "pytest.CaptureFixture[str]") -> None:
    tiny = ["--data.validation_size", "12", "--data.test_size", "2", "--model.particles", "10"]
    search = ["--seeds", "1", "--tasks", "kinds", "--new-tokens", "4", "--trainer.max_steps", "2"]
    with calm_process():
        early_stop.main([*search, *tiny])
    numbers = last_line(capsys)
    parts = numbers["tasks"]["kinds"]["0"]
    assert set(parts) == {"on", "off", "tokens"}
    assert all(part["different"] == [] for part in parts.values())
    assert all(0 <= part["left_out"] < 1 for part in parts.values())
    assert parts["on"]["full"] == 10 * 12 * 3  # the first positions and two iterations
