"""The small world of `tests/search/tiny_search.py`, and one finished run that the tests copy and go on from."""

import contextlib
import copy
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.cli.main import main
from tests.search.tiny_search import World, make_world, records, run_swarm

# The first of these letters in a reply is its answer: few enough that particles agree and a vote means something.
LETTERS = "aeist"


@dataclass
class Run:
    """A finished run: 5 particles, 3 iterations, every personal best exported."""

    root: Path
    config: dict[str, Any]
    printed: str

    @property
    def folder(self) -> Path:
        return self.root / "version_0"

    def copied_to(self, root: Path) -> "Run":
        shutil.copytree(self.root, root)
        config = copy.deepcopy(self.config)
        config["trainer"]["default_root_dir"] = str(root)
        return Run(root, config, self.printed)

    def swarm(self, subcommand: str, *arguments: str) -> str:
        return run_swarm(self.config, subcommand, self.root.parent, *arguments)


def rows_of_runs(printed: str) -> list[list[str]]:
    """Cut the rows of a table that `swarm runs` has printed into cells."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line[:1] == "│"]


def states_below(root: Path) -> dict[str, str]:
    """Return the states that `swarm runs` lists, by the paths of the run folders below the root."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(["runs", str(root)])
    return {str(Path(row[0]).relative_to(root)): row[1] for row in rows_of_runs(printed.getvalue())}


@pytest.fixture(scope="session")
def world(tiny_base_folder: Path, tiny_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny base and experts with a dataset whose answers are single letters."""
    world = make_world(tiny_base_folder, tiny_experts_folder, tmp_path_factory.mktemp("world"))
    splits = {"dev": records(8, 3), "test": records(12, 53)}
    for split in splits.values():
        for place, record in enumerate(split):
            record["answer"] = LETTERS[place % len(LETTERS)]
    world.dataset.write_text(json.dumps(splits))
    return world


@pytest.fixture(scope="session")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("finished")
    objective = {"init_args": {"rule": "regex", "pattern": f"([{LETTERS}])"}}
    config = world.config(
        folder / "runs",
        model={"objective": objective, "ensemble_size": 4},
        export_best={"particles": [0, 1, 2, 3, 4]},
    )
    printed = run_swarm(config, "fit", folder)
    return Run(folder / "runs", config, printed)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy of the finished run that a test may write into."""
    return finished.copied_to(tmp_path / "runs")
