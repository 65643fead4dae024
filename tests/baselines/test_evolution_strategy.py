"""The strategy on a real search's bench: four experts, eight examples, an objective with a smooth guide."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.evolution_strategy import EvolutionStrategyRow, Start, choose
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.soups import soup_of
from swarm_lightning.data.examples import Example
from swarm_lightning.experts.products.products import Granularity
from swarm_lightning.experts.products.refit import ROUNDS
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm.centre_search import BEST_EXPERT, LAST_CENTRE, MEAN
from swarm_lightning.swarm.evolution import Centre, EvolutionSettings, Pairs
from swarm_lightning.swarm.evolution_strategy import AVERAGE
from swarm_lightning.swarm.rules import best_of
from swarm_lightning.swarm.soups import greedy_soup
from tests.baselines.counting import asked
from tests.search.tiny_search import NEW_TOKENS

EXPERTS, EXAMPLES = 4, 8
START = (EXPERTS + EXPERTS - 1) * EXAMPLES  # the greedy soup
PAIR = 24 * 2 * EXAMPLES  # a pair in each of 24 steps, asked 8 examples
SOUP = EvolutionStrategyRow(start="greedy_soup")


@pytest.fixture
def guided(opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch) -> ModelSwarm:
    monkeypatch.setattr(opened.evaluator, "objective", ExactMatch(max_new_tokens=NEW_TOKENS))
    return opened


def examples_of(module: ModelSwarm) -> tuple[Example, ...]:
    return tuple(module.trainer.datamodule.splits.validation)  # type: ignore[attr-defined]


def bench(module: ModelSwarm, budget: int = START + PAIR + EXAMPLES, seed: int = 1) -> Bench:
    return Bench(module, examples_of(module), seed=seed, budget=budget)


@pytest.mark.parametrize(("left", "pairs", "asked"), [
    (0, 1, 1), (2 * EXAMPLES, 1, 3), (PAIR - 1, 1, 5), (PAIR, 1, 5), (PAIR + 4 * EXAMPLES, 2, 5)
])  # fmt: skip
def test_it_spends_what_holds_whole_pairs_and_no_more(guided: ModelSwarm, left: int, pairs: int, asked: int) -> None:
    place = bench(guided, START + PAIR + EXAMPLES + left)
    composition = SOUP.compose(place)
    assert place.spent == START + pairs * PAIR + asked * EXAMPLES
    assert f"24 steps of {pairs} pairs" in composition.detail
    place = bench(guided, START + PAIR + EXAMPLES + PAIR)
    replace(SOUP, chooses=False).compose(place)
    assert place.spent == START + 2 * PAIR + EXAMPLES


def test_the_objective_chooses_the_simplest_of_the_best_that_the_budget_holds(guided: ModelSwarm) -> None:
    products = ProductBench(bench(guided), granularity="module", guided=True)
    weights = torch.cat([torch.eye(EXPERTS), torch.full((1, EXPERTS), 1 / EXPERTS)])
    alone = products.groups.spread(weights)
    worths = [products.worth(one) for one in alone]
    best, mean = worths.index(max(worths[:EXPERTS])), EXPERTS
    worst = worths.index(min(worths))
    assert worths[worst] < worths[best]
    # What the steps have found is worth the least; the last centre no more than the expert, which is simpler.
    candidates = {AVERAGE: alone[worst], LAST_CENTRE: alone[best], BEST_EXPERT: alone[best]}
    assert choose(products, candidates) == (BEST_EXPERT, worths[best])
    assert choose(products, {AVERAGE: alone[worst], MEAN: alone[mean]})[1] == max(worths[worst], worths[mean])
    assert choose(products, {AVERAGE: alone[worst]}) == (AVERAGE, worths[worst])


def test_what_the_steps_have_spoilt_is_not_handed_over(guided: ModelSwarm) -> None:
    # Steps of this length leave all sums that make sense.
    far = EvolutionSettings(step_length=1e3)
    place = bench(guided, START + PAIR + 5 * EXAMPLES)
    composition = replace(SOUP, settings=far).compose(place)
    unasked = replace(SOUP, settings=far, chooses=False).compose(bench(guided))
    assert composition.utility > unasked.utility
    assert composition.detail.endswith(("chosen: best expert", "chosen: start", "chosen: mean of the experts"))
    assert composition.scores is not None
    assert float(composition.scores(examples_of(guided)).mean()) == composition.utility


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
        SOUP.compose(bench(guided, START + PAIR + EXAMPLES - 1))


BEFORE: dict[Start, int] = {"greedy_soup": START, "product_mean": 0, "best_expert": EXPERTS * EXAMPLES}


class Watched(EvolutionStrategyRow):
    """The row, with a note of where its centre stood before every step."""

    def ask(self, centre: Centre, pairs: int, generator: torch.Generator) -> tuple[Centre, Pairs]:
        self.positions = [*getattr(self, "positions", []), centre.position]
        return super().ask(centre, pairs, generator)


def weights_of(start: Start, products: ProductBench) -> Tensor:
    """The weights of the experts that a start stands for, asked anew."""
    alone = torch.eye(EXPERTS)
    if start == "product_mean":
        return alone.mean(dim=0)

    def utilities(weights: Tensor) -> Tensor:
        return products.utilities(products.groups.spread(weights))

    if start == "best_expert":
        return alone[best_of(utilities(alone))]
    chosen, _ = greedy_soup(alone, utilities(alone), lambda soup: float(utilities(soup[None])[0]))
    return soup_of(alone, chosen)


@pytest.mark.parametrize("start", list(BEFORE))
def test_it_begins_at_its_start_and_pays_for_no_other(guided: ModelSwarm, start: Start) -> None:
    place, row = bench(guided, BEFORE[start] + PAIR + EXAMPLES), Watched(start=start)
    row.compose(place)
    assert place.spent == BEFORE[start] + PAIR + EXAMPLES
    products = ProductBench(bench(guided), granularity="module", guided=True)
    assert row.positions[0].equal(products.groups.spread(weights_of(start, products)).double())
    with pytest.raises(Absent, match=f"too small for the {start.replace('_', ' ')} and the strategy"):
        row.compose(bench(guided, BEFORE[start] + PAIR + EXAMPLES - 1))


@pytest.mark.parametrize("granularity", ["expert", "layer", "module", "component"])
def test_the_centre_has_as_many_numbers_as_the_granularity_says(guided: ModelSwarm, granularity: Granularity) -> None:
    row = Watched(start="greedy_soup", granularity=granularity)
    row.compose(bench(guided))
    products = guided.pool.products()
    assert products is not None
    parts = {
        "expert": 1,
        "layer": len({layer.partition(".layers.")[2][0] for layer in products.layers}),
        "module": len(products.layers),
        "component": sum(products.ranks),
    }
    assert {len(position) for position in row.positions} == {EXPERTS * parts[granularity]}


def test_without_a_guide_it_begins_by_the_objective_and_asks_nothing_else(opened: ModelSwarm) -> None:
    place, row = bench(opened), Watched(start="best_expert", guided=False)
    before = asked()
    row.compose(place)
    assert asked() - before == place.spent  # the objective keeps count; a guide would be asked past it
    products = ProductBench(bench(opened), granularity="module")
    assert row.positions[0].equal(products.groups.spread(weights_of("best_expert", products)).double())


def test_an_objective_without_a_guide_is_a_reason_to_be_absent(opened: ModelSwarm) -> None:
    with pytest.raises(Absent, match="follows a smooth guide, and CountingMatch has none"):
        EvolutionStrategyRow().compose(bench(opened))


def test_a_guide_asks_nothing_that_the_objective_is_asked_later(guided: ModelSwarm) -> None:
    products = ProductBench(bench(guided), guided=True)
    mean = torch.full((EXPERTS,), 1 / EXPERTS)
    guide = float(products.utilities(mean[None])[0])
    assert guide < 0  # a mean log-probability
    assert 0 <= products.worth(mean) <= 1


FITS = 2 * (ROUNDS + 1)  # of the mean and of the soup


def test_fitted_anew_it_spends_no_more_than_its_budget_and_begins_with_the_sum_of_the_fitted(
    guided: ModelSwarm,
) -> None:
    whole = EXPERTS + 1 + EXPERTS - 1 + FITS
    assert ProductBench(bench(guided), guided=True, refits=True).sums_of_start == whole
    budget = whole * EXAMPLES + PAIR + EXAMPLES
    place = bench(guided, budget)
    row = Watched()
    composition = row.compose(place)
    assert place.spent <= budget
    first, last = row.positions[0], row.positions[-1]
    half = len(first) // 2
    second = torch.cat([torch.zeros(half), torch.ones(half)]).double()
    if "fitted anew" in composition.detail:
        assert first.equal(second)
        assert not last[:half].any(), "experts as they were trained stay out"
        assert not last[half:].equal(first[half:])
    else:
        assert not first[half:].any()
        assert not last[half:].any(), "those that were fitted stay out"


def test_a_budget_that_holds_no_fit_still_holds_what_comes_before_it(guided: ModelSwarm) -> None:
    place = bench(guided, (EXPERTS + 2) * EXAMPLES + PAIR)
    assert "fitted anew" not in EvolutionStrategyRow().compose(place).detail
    assert place.budget is not None
    assert place.spent <= place.budget
    with pytest.raises(Absent, match="too small for the fit of the experts and the strategy"):
        EvolutionStrategyRow().compose(bench(guided, EXPERTS * EXAMPLES + PAIR))
