"""The small world of `tests/search/tiny_search.py`, opened once: a set-up search that has done no iteration."""

from pathlib import Path

import pytest

from swarm_lightning.search import ModelSwarm
from tests.baselines.counting import CountingMatch
from tests.search.tiny_search import NEW_TOKENS, World, fitted, make_world


@pytest.fixture(scope="session")
def world(tiny_base_folder: Path, tiny_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tiny_base_folder, tiny_experts_folder, tmp_path_factory.mktemp("compared"))


@pytest.fixture(scope="session")
def opened(world: World, tmp_path_factory: pytest.TempPathFactory) -> ModelSwarm:
    """A search of 5 particles over four experts; scores 1 where the gold letter occurs in the reply."""
    objective = CountingMatch(max_new_tokens=NEW_TOKENS)
    module = ModelSwarm(str(world.base), experts=str(world.experts), objective=objective, particles=5)
    fitted(module, world, tmp_path_factory.mktemp("opened"), 0, 0)
    return module
