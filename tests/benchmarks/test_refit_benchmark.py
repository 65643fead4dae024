"""The benchmark of a fit runs for real, on worlds small enough for every day; no time is asserted."""

import pytest

import refit
from tests.benchmarks.last_line import last_line


def test_both_worlds_are_measured_and_the_fit_of_the_demo_world_pays(capsys: "pytest.CaptureFixture[str]") -> None:
    demo_world = ["--task", "kinds", "--examples", "60", "--repeats", "1"]
    random = ["--hidden", "72", "--layers", "1", "--vocabulary", "99", "--rank", "2", "--wide-examples", "6"]
    refit.main([*demo_world, *random])
    worlds = last_line(capsys)["worlds"]
    demo, wide = worlds["demo world"], worlds["random world"]
    assert demo["utility"] > demo["utility_of_mean"]
    assert demo["read"] == 2 * 60
    assert (wide["examples"], wide["experts"], wide["layers"], wide["widest"]) == (6, 10, 7, 192)
    # Five folds of six matrices of 72 x 72 and one of 192 x 192 numbers of 8 bytes.
    assert wide["matrices_mb"] == pytest.approx(5 * 8 * (6 * 72**2 + 192**2) / 1e6)
