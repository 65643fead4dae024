"""Searches of a sweep with several ranks each: what they find, and what one that fails says."""

from pathlib import Path

import pytest

from swarm_lightning.cli import main
from tests.search.tiny_search import calm_process, read_rows

pytestmark = pytest.mark.slow
SMALL = (
    *("--model.experts", '["demo:experts/scribe", "demo:experts/shepherd"]', "--model.particles", "3"),
    *("--data.validation_size", "6", "--data.test_size", "4", "--trainer.max_steps", "1"),
)
STUDY = Path(__file__).parents[3] / "configs" / "studies" / "ranks.yaml"


def test_searches_on_one_rank_and_on_two_find_the_same_and_one_that_can_not_begin_says_why(tmp_path: Path) -> None:
    space = '{"trainer.devices": [1, 2, 0]}'
    with calm_process():
        main(["sweep", "--config", str(STUDY), *SMALL, "--trainer.default_root_dir", str(tmp_path),
              "--sweep.space", space])  # fmt: skip
    rows = {row["trainer.devices"]: row for row in read_rows(tmp_path / "ranks" / "sweep.csv")}
    one, two, none = (rows[ranks] for ranks in "120")
    same = ("state", "validation_utility", "test_utility", "evaluations", "iterations")
    assert [one[name] for name in same] == [two[name] for name in same]
    assert float(two["seconds"]) > 0
    assert (none["state"], "ranks.log" in none["why"]) == ("failed", True)
    record = (Path(two["folder"]) / "run.json").read_text(encoding="utf-8")
    assert '"ranks": 2' in record
