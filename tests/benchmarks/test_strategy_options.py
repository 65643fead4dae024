"""The choices of the strategy: each changes one thing, asks no more, and makes what it reports; tables by hand."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import strategy_options
from option_tables import summarise
from strategy_options import RECOMMENDED, STARTS, ApartRow, roles_text
from swarm_lightning.baselines import registry
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.evolution_strategy import EvolutionStrategyRow, Start
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.experts.products.refit import ROUNDS
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm import evolution
from swarm_lightning.swarm.evolution import EvolutionSettings
from tests.benchmarks.last_line import last_line
from tests.search.tiny_search import NEW_TOKENS, calm_process, fitted, make_world

STRATEGIES = {
    start: {name: variant for name, variant in variants.items() if isinstance(variant, EvolutionStrategyRow)}
    for start, variants in STARTS.items()
}
EXPERTS = 4


@pytest.fixture(scope="module")
def opened(tiny_base_folder: Path, tiny_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSwarm:
    world = make_world(tiny_base_folder, tiny_experts_folder, tmp_path_factory.mktemp("strategies"))
    objective = ExactMatch(max_new_tokens=NEW_TOKENS)
    module = ModelSwarm(str(world.base), experts=str(world.experts), objective=objective, particles=5)
    fitted(module, world, tmp_path_factory.mktemp("opened"), 0, 0)
    return module


def choices_of(row: EvolutionStrategyRow) -> dict[str, Any]:
    """What a row does, without its name."""
    choices = asdict(row)
    settings = choices.pop("settings")
    return {**choices, **settings, "title": None, "pairs": type(row)}


def test_the_row_of_the_comparison_is_among_them() -> None:
    row = registry.METHODS[RECOMMENDED](CompareSettings())
    assert isinstance(row, EvolutionStrategyRow)
    assert choices_of(replace(row, chooses=False)) == choices_of(STRATEGIES["refitted"][RECOMMENDED])
    assert choices_of(STRATEGIES["refitted"][RECOMMENDED]) == choices_of(STRATEGIES["greedy_soup"]["refitted"])
    assert choices_of(STRATEGIES["greedy_soup"][RECOMMENDED]) == choices_of(STRATEGIES["refitted"]["from_soup"])


@pytest.mark.parametrize("start", STARTS)
def test_every_variant_changes_one_choice(start: Start) -> None:
    recommended = choices_of(STRATEGIES[start][RECOMMENDED])
    for name, variant in STRATEGIES[start].items():
        changed = [choice for choice, value in choices_of(variant).items() if value != recommended[choice]]
        assert len(changed) == (name != RECOMMENDED), name


def test_what_is_handed_over_is_the_last_centre_where_the_variant_says_so() -> None:
    settings = STRATEGIES["refitted"]["last_centre"].settings
    generator = torch.Generator().manual_seed(0)
    centre = evolution.begin(torch.zeros(3), 8, generator)
    for step in range(settings.steps):
        centre, asked = evolution.ask(centre, settings, 1, generator)
        length = evolution.step_length_of(settings, step)
        centre = evolution.tell(centre, settings, length, asked, asked.candidates.sum(dim=1))
    assert evolution.found(centre, settings).equal(centre.position.float())


def test_the_two_of_a_pair_stand_opposite_and_are_asked_different_examples() -> None:
    # Twelve examples are six batches of two: three pairs ask all of them once.
    row = ApartRow(settings=EvolutionSettings(batch=2))
    generator = torch.Generator().manual_seed(0)
    centre = evolution.begin(torch.ones(5), 12, generator)
    _, asked = row.ask(centre, 3, generator)
    assert asked.candidates.shape == (6, 5)
    first, second = asked.candidates.unflatten(0, (3, 2)).unbind(dim=1)
    torch.testing.assert_close(first + second, torch.full((3, 5), 2.0))
    torch.testing.assert_close(first - 1, 0.06 * asked.directions.float())
    assert asked.wanted.sum(dim=1).tolist() == [2] * 6
    assert asked.wanted.sum(dim=0).tolist() == [1] * 12


@pytest.mark.parametrize(("start", "name"), [(start, name) for start, variants in STARTS.items() for name in variants])
def test_every_variant_asks_no_more_and_returns_what_it_found(opened: ModelSwarm, start: Start, name: str) -> None:
    assert opened.splits is not None
    examples = opened.splits.validation
    # The soup, two fits, the last look, and a pair of all examples a step.
    budget = (2 * EXPERTS + 2 * (ROUNDS + 1) + 2 * 24) * len(examples)
    bench = Bench(opened, examples, seed=3, budget=budget)
    found = STARTS[start][name].compose(bench)
    assert bench.spent <= budget
    if found.scores is not None:  # a sum of products
        assert float(found.scores(bench.examples).mean()) == found.utility
    else:
        assert found.vector is not None
        assert bench.utility(found.vector) == found.utility


def test_tasks_that_settings_were_chosen_on_stand_apart_from_those_that_confirm_them() -> None:
    def runs(test: float, validation: float) -> list[dict[str, float]]:
        return [{"test": test, "validation": validation, "evaluations": 10}]

    found = {
        "neighbours": {RECOMMENDED: runs(70, 80), "wide": runs(71, 82)},
        "atlas": {RECOMMENDED: runs(50, 60), "wide": runs(50, 62)},
        "kinds": {RECOMMENDED: runs(80, 85), "wide": runs(78, 83)},
    }
    roles = {
        "chosen on": summarise({task: found[task] for task in ("neighbours", "atlas")}, RECOMMENDED),
        "confirmed on": summarise({"kinds": found["kinds"]}, RECOMMENDED),
    }
    lines = roles_text(roles, summarise(found, RECOMMENDED)).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    gain = ["gain", "validation"]
    assert cells[0] == ["variant", "chosen on neighbours, atlas", *gain, "confirmed on kinds", *gain, "evaluations"]
    assert cells[2][1:] == ["60.00", "", "70.0", "80.00", "", "85.0", "10"]
    assert cells[3][1:] == ["60.50", "+0.50 (+0.00 to +1.00)", "72.0", "78.00", "-2.00 (-2.00 to -2.00)", "83.0", "10"]


@pytest.mark.slow
def test_the_command_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 10 experts, 6 examples: 120 for the soup and the last look, 288 for a pair in each of 24 steps.
    tiny = ["--data.validation_size", "6", "--data.test_size", "4", "--seeds", "1", "--evaluations", "408"]
    where = ["--tasks", "kinds", "--start", "greedy_soup", "--runs", str(tmp_path / "runs"), *tiny]
    results = tmp_path / "runs" / "kinds" / "results"
    with calm_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("swarm_lightning.baselines.registry.METHODS", registry.METHODS)  # put back later
        strategy_options.main([*where, "--variants", "wide"])
        assert set(last_line(capsys)["variants"]) == {RECOMMENDED, "wide"}
        kept = {path.name: path.read_bytes() for path in results.iterdir()}
        strategy_options.main([*where, "--variants", "wide", "from_mean", "--output", str(tmp_path / "options.md")])
    found = last_line(capsys)
    assert {name: row["evaluations"] for name, row in found["variants"].items()} == {
        RECOMMENDED: 408,
        "from_mean": 294,
        "wide": 408,
    }
    assert set(found["roles"]) == {"confirmed on"}
    assert kept.items() <= {path.name: path.read_bytes() for path in results.iterdir()}.items()
    written = (tmp_path / "options.md").read_text()
    assert (
        "`python benchmarks/strategy_options.py --seeds 1 --evaluations 408 --start greedy_soup --tasks kinds"
        in written
    )
    assert "| twice the deviation " in written
