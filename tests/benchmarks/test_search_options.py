"""The changes of the search: without one it is the search, and each does what it says."""

from pathlib import Path

import pytest
import torch

import search_options
from search_options import VARIANTS, WeightSpace
from swarm_lightning.baselines import registry
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.callbacks import RestartStagnant
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.search.settings import DrawsChoice
from swarm_lightning.swarm.rules import Coefficients
from swarm_lightning.swarm.state import first_state
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import NEW_TOKENS, World, calm_process, fitted, make_world

ITERATIONS = 7  # some restarts are among them


@pytest.fixture(scope="module")
def world(tiny_base_folder: Path, tiny_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tiny_base_folder, tiny_experts_folder, tmp_path_factory.mktemp("options"))


@pytest.fixture(scope="module")
def searched(world: World, tmp_path_factory: pytest.TempPathFactory) -> ModelSwarm:
    objective = ExactMatch(max_new_tokens=NEW_TOKENS)
    module = ModelSwarm(str(world.base), experts=str(world.experts), objective=objective, particles=6)
    fitted(module, world, tmp_path_factory.mktemp("searched"), ITERATIONS, 3, RestartStagnant(5))
    return module


def bench_of(module: ModelSwarm, iterations: int) -> Bench:
    assert module.splits is not None
    examples = module.splits.validation
    return Bench(module, examples, seed=3, budget=6 * (1 + iterations) * len(examples))


def test_without_a_change_it_is_the_search(searched: ModelSwarm) -> None:
    assert searched.swarm.restarts.any()
    bench = bench_of(searched, ITERATIONS)
    found = VARIANTS["published"].compose(bench)
    assert found.vector is not None
    assert found.vector.equal(searched.swarm.global_best)
    assert found.utility == float(searched.swarm.global_best_utility)
    assert bench.spent == bench.budget


@pytest.mark.parametrize("draws", ["tensor", "coefficient"])
def test_other_draws_are_the_search_with_that_setting(world: World, tmp_path: Path, draws: DrawsChoice) -> None:
    objective = ExactMatch(max_new_tokens=NEW_TOKENS)
    module = ModelSwarm(str(world.base), experts=str(world.experts), objective=objective, particles=6, draws=draws)
    fitted(module, world, tmp_path, ITERATIONS, 3, RestartStagnant(5))
    found = VARIANTS[f"{draws}_draws"].compose(bench_of(module, ITERATIONS))
    assert found.vector is not None
    assert found.vector.equal(torch.as_tensor(module.particle_swarm.space.vector(module.swarm.global_best)[:]))
    assert found.utility == float(module.swarm.global_best_utility)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "published"])
def test_every_change_asks_no_more_and_returns_what_it_found(searched: ModelSwarm, name: str) -> None:
    bench = bench_of(searched, 3)
    found = VARIANTS[name].compose(bench)
    assert bench.budget is not None
    assert bench.spent <= bench.budget
    if found.scores is not None:  # a sum of products
        assert float(found.scores(bench.examples).mean()) == found.utility
    else:
        assert found.vector is not None
        assert bench.utility(found.vector) == found.utility


def test_random_numbers_per_weight_differ_in_every_weight() -> None:
    # From x = v = 0 with g = p = 1 and w = 0 a weight moves by its shares of the pulls towards g and p, which differ
    # only in its random numbers.
    swarm = first_state(torch.zeros(1, 6), torch.zeros(1, 6), torch.zeros(1))
    swarm.global_best.fill_(1)
    WeightSpace(0).move(swarm, torch.ones(1, 4), Coefficients(0.2, 0.3, 0.4, 0.05), 1.0)
    moved = swarm.positions[0]
    assert ((moved > 0) & (moved < 1)).all()
    assert len(moved.unique()) == 6


@pytest.mark.slow
def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--data.validation_size", "6", "--data.test_size", "4", "--seeds", "1", "--iterations", "1"]
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_options, "VALIDATION", 6)
        patch.setattr("swarm_lightning.baselines.registry.METHODS", registry.METHODS)  # put back later
        search_options.main(
            ["--tasks", "kinds", "--variants", "polish", "--output", str(tmp_path / "options.md"), *tiny]
        )
    found = last_line(capsys)["variants"]
    assert set(found) == {"published", "polish"}
    assert found["published"]["evaluations"] == 2 * 20 * 6
    assert "| greedy soup of personal bests at the end |" in (tmp_path / "options.md").read_text()
