"""A finished search whose texts try to break out of a page."""

import json
from pathlib import Path

import pytest

from swarm_lightning.callbacks import ExportBest, History, Replies, RestartStagnant, RunRecord, Summary
from tests.search.tiny_search import World, make_world, search

EVIL = "<script>document.title = 'broken'</script><b onclick='x"


@pytest.fixture(scope="session")
def world(tiny_base_folder: Path, tiny_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny base and experts, with questions that look like HTML."""
    world = make_world(tiny_base_folder, tiny_experts_folder, tmp_path_factory.mktemp("pages"))
    splits = json.loads(world.dataset.read_text())
    for records in splits.values():
        for record in records:
            record["question"] += f" {EVIL} </td></table> \u2028 & &lt;"
    world.dataset.write_text(json.dumps(splits))
    return world


@pytest.fixture(scope="session")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of five particles and four iterations."""
    folder = tmp_path_factory.mktemp("finished") / "version_0"
    callbacks = [RestartStagnant(2), History(), ExportBest(), Summary(), Replies(), RunRecord()]
    search(world, folder, callbacks=callbacks, particles=5, iterations=4)
    return folder
