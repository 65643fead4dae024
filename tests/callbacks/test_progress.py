"""What the bar shows while a search goes on."""

import re
from pathlib import Path

import pytest

from swarm_lightning.callbacks import SwarmProgress
from tests.search.tiny_search import FULL, Scripted, World, run_swarm, search, write_dataset

SCRIPT = [(0.5, 0.25), (0.25, 0.75), (0.0, 1.0)]


def test_the_bar_shows_iteration_best_mean_step_length_and_examples_per_second(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search(
        world,
        tmp_path,
        callbacks=[SwarmProgress()],
        objective=Scripted(SCRIPT, examples=4),
        engine=FULL,
        experts=[str(world.experts / name) for name in ("colours", "towns")],
        particles=2,
        iterations=2,
        dataset=write_dataset(tmp_path / "four.json", validation=4, test=1),
        lr=0.8,
    )
    shown = capsys.readouterr().out
    assert "evaluating the first positions" in shown
    for iteration, best, mean, step_length in (
        (0, 0.5, 0.375, "0.80"),
        (1, 0.75, 0.625, "0.76"),
        (2, 1.0, 0.75, "0.72"),
    ):
        measured = rf"best {best:.3f}, mean of personal bests {mean:.3f}, step length {step_length}"
        pattern = rf"\b{iteration}/2 .*{measured}, \d+ examples/s"
        assert re.search(pattern, shown), (iteration, shown)


def test_the_bar_can_be_switched_off(world: World, tmp_path: Path) -> None:
    config = world.config(tmp_path / "runs", trainer={"max_steps": 1})
    assert "examples/s" not in run_swarm(config, "fit", tmp_path)
    config["trainer"]["enable_progress_bar"] = True
    assert "examples/s" in run_swarm(config, "fit", tmp_path)
