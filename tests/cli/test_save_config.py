"""The config in the run folder."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.search.tiny_search import TIMINGS, content, read_rows, run_swarm


def test_the_saved_config_starts_the_same_search_anew(run: Run, tmp_path: Path) -> None:
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    config["trainer"]["default_root_dir"] = str(run.root)  # the run was copied
    run_swarm(config, "fit", tmp_path)
    first, again = run.folder, run.root / "version_1"
    assert content(again / "best_expert") == content(first / "best_expert")
    assert content(again / "score_tables") == content(first / "score_tables")
    rows = [read_rows(folder / "history.csv") for folder in (first, again)]
    for row, other in zip(*rows, strict=True):
        names = row.keys() - TIMINGS
        assert {name: row[name] for name in names} == {name: other[name] for name in names}


def test_the_saved_config_keeps_the_users_words(run: Run, finished: Run) -> None:
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["trainer"]["default_root_dir"] == str(finished.root), "the root, not the run's own folder"
    assert config["trainer"]["logger"] is None
    assert config["ckpt_path"] is None
    assert config["seed_everything"] == 0


@pytest.mark.slow
def test_resuming_keeps_the_config_and_makes_one_where_it_is_missing(run: Run) -> None:
    before = (run.folder / "config.yaml").read_bytes()
    run.swarm("fit", "--ckpt_path", "last", "--trainer.max_steps", "4")
    assert (run.folder / "config.yaml").read_bytes() == before
    (run.folder / "config.yaml").unlink()
    run.swarm("fit", "--ckpt_path", "last", "--trainer.max_steps", "4")
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["model"]["particles"] == 5


def test_the_saved_config_loads_where_the_run_was_moved(run: Run, tmp_path: Path) -> None:
    moved = Path(shutil.move(run.folder, tmp_path / "moved"))
    config = yaml.safe_load((moved / "config.yaml").read_text())
    run_swarm(config, "validate", tmp_path, "--ckpt_path", str(moved))
    assert (moved / "validation.csv").exists()
