"""The small world that a search which holds a folder is run on."""

from pathlib import Path

import pytest

from tests.search.tiny_search import World, make_world


@pytest.fixture(scope="session")
def world(tiny_base_folder: Path, tiny_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny base and experts with a dataset whose utilities differ between particles."""
    return make_world(tiny_base_folder, tiny_experts_folder, tmp_path_factory.mktemp("world"))
