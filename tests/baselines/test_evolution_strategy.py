"""The strategy on a real search's bench: four experts, eight examples, an objective with a smooth guide."""

import pytest
import torch

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.evolution_strategy import EvolutionStrategyRow
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.data.examples import Example
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from tests.search.tiny_search import NEW_TOKENS

EXPERTS, EXAMPLES = 4, 8
START = (EXPERTS + EXPERTS - 1) * EXAMPLES  # the greedy soup
PAIR = 24 * 2 * EXAMPLES  # a pair in each of 24 steps, asked 8 examples


@pytest.fixture
def guided(opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch) -> ModelSwarm:
    monkeypatch.setattr(opened.evaluator, "objective", ExactMatch(max_new_tokens=NEW_TOKENS))
    return opened


def examples_of(module: ModelSwarm) -> tuple[Example, ...]:
    return tuple(module.trainer.datamodule.splits.validation)  # type: ignore[attr-defined]


def bench(module: ModelSwarm, budget: int = START + PAIR + EXAMPLES, seed: int = 1) -> Bench:
    return Bench(module, examples_of(module), seed=seed, budget=budget)


@pytest.mark.parametrize(("left", "pairs"), [(0, 1), (PAIR - 1, 1), (PAIR, 2)])
def test_it_spends_what_holds_whole_pairs_and_no_more(guided: ModelSwarm, left: int, pairs: int) -> None:
    place = bench(guided, START + PAIR + EXAMPLES + left)
    composition = EvolutionStrategyRow().compose(place)
    assert place.spent == START + pairs * PAIR + EXAMPLES
    assert f"24 steps of {pairs} pairs" in composition.detail


def test_the_reported_utility_is_the_objectives_of_what_is_handed_over(guided: ModelSwarm) -> None:
    composition = EvolutionStrategyRow().compose(bench(guided))
    assert composition.scores is not None
    assert float(composition.scores(examples_of(guided)).mean()) == composition.utility
    assert composition.adapter is not None


def test_the_same_seed_makes_the_same_composition(guided: ModelSwarm) -> None:
    first, same, other = (EvolutionStrategyRow().compose(bench(guided, seed=seed)).adapter for seed in (3, 3, 4))
    assert first is not None
    assert same is not None
    assert other is not None
    assert all(tensor.equal(same.tensors[name]) for name, tensor in first.tensors.items())
    assert not all(tensor.equal(other.tensors[name]) for name, tensor in first.tensors.items())


def test_a_budget_that_holds_no_pair_is_a_reason_to_be_absent(guided: ModelSwarm) -> None:
    with pytest.raises(Absent, match=f"Expected {PAIR} evaluations or more .* but there are {PAIR - 1}"):
        EvolutionStrategyRow().compose(bench(guided, START + PAIR + EXAMPLES - 1))


def test_an_objective_without_a_guide_is_a_reason_to_be_absent(opened: ModelSwarm) -> None:
    with pytest.raises(Absent, match="follows a smooth guide, and CountingMatch has none"):
        EvolutionStrategyRow().compose(bench(opened))


def test_a_guide_asks_nothing_that_the_objective_is_asked_later(guided: ModelSwarm) -> None:
    products = ProductBench(bench(guided), guided=True)
    mean = torch.full((EXPERTS,), 1 / EXPERTS)
    guide = float(products.utilities(mean[None])[0])
    assert guide < 0  # a mean log-probability
    assert 0 <= products.worth(mean) <= 1
