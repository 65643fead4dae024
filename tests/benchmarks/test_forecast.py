"""The forecast stands beside what a real search took; how near it comes is not asserted: that takes a quiet machine."""

import pytest

import forecast
from tests.benchmarks.last_line import last_line


@pytest.mark.slow
def test_a_search_is_planned_and_then_run(capsys: "pytest.CaptureFixture[str]") -> None:
    experts = '["demo:experts/scribe", "demo:experts/shepherd"]'
    small = [
        *("--model.experts", experts, "--model.particles", "4", "--trainer.max_steps", "2"),
        *("--data.validation_size", "8", "--data.test_size", "4"),
    ]
    forecast.main(["--searches", "neighbours", *small])
    numbers = last_line(capsys)
    assert numbers["benchmark"] == "forecast"
    found = numbers["searches"]["neighbours"]
    assert found["iterations"] == {"low": 2, "likely": 2, "high": 2, "real": 2}
    assert found["evaluations"]["real"] <= 4 * 8 * 3
    assert all(found[name]["real"] > 0 for name in ("search", "total"))
