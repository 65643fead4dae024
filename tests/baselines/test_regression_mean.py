"""The mean of experts fitted anew, on a real search's bench of four experts and eight examples."""

import pytest
import torch

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.regression_mean import RegressionMean
from swarm_lightning.experts.products.refit import ROUNDS
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm.starts import Starts, SumOfExperts
from tests.baselines.counting import asked
from tests.baselines.test_methods import EXAMPLES, EXPERTS, examples_of
from tests.search.tiny_search import NEW_TOKENS


@pytest.fixture
def guided(opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch) -> ModelSwarm:
    monkeypatch.setattr(opened.evaluator, "objective", ExactMatch(max_new_tokens=NEW_TOKENS))
    monkeypatch.setattr(opened, "_objective", ExactMatch(max_new_tokens=NEW_TOKENS))
    return opened


def test_what_is_asked_and_read_is_counted(opened: ModelSwarm) -> None:
    before, bench = asked(), Bench(opened, examples_of(opened))
    composition = RegressionMean().compose(bench)
    questions = asked() - before
    read, rest = divmod(bench.spent - questions, ROUNDS * EXAMPLES)
    assert rest == 0
    assert read in (1, 2), "a fit of the mean, and one of the soup where that has other members"
    # The experts, their mean, three soups, what every fit left out, scaled sums in place of a second fit, and what is
    # handed over.
    assert questions == (EXPERTS + 1 + EXPERTS - 1 + read + 3 * (2 - read) + 1) * EXAMPLES
    most = ProductBench(Bench(opened, examples_of(opened)), refits=True).sums_of_start
    assert bench.spent <= (most + 1) * EXAMPLES
    assert 0 <= composition.utility <= 1


def test_it_hands_over_the_best_of_what_it_tried_with_the_fit_that_belongs_to_it(guided: ModelSwarm) -> None:
    bench = Bench(guided, examples_of(guided))
    products = ProductBench(bench, guided=True, refits=True)
    starts = products.start(bench.names)
    fits = [start for start in starts.tried if start.refitted]
    assert starts.best.utility == max(start.utility for start in starts.tried)
    assert fits
    composition = RegressionMean().compose(Bench(guided, examples_of(guided)))
    assert composition.detail == starts.best.name
    assert composition.scores is not None
    assert float(composition.scores(examples_of(guided)).mean()) == composition.utility
    assert composition.adapter is not None


def test_the_second_versions_are_those_of_the_best_fit(guided: ModelSwarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of two fits is chosen, its matrices are what the coefficients scale afterwards."""
    soup = torch.tensor([0.5, 0.0, 0.5, 0.0])
    monkeypatch.setattr("swarm_lightning.swarm.starts.soup_of", lambda alone, places: soup)
    monkeypatch.setattr("swarm_lightning.swarm.starts.greedy_soup", lambda *_: ([0, 2], -1.0))
    kept = []
    for chosen in (0, 1):

        def best(starts: Starts, place: int = chosen) -> SumOfExperts:
            return _fits(starts.tried)[place]

        monkeypatch.setattr("swarm_lightning.swarm.starts.Starts.best", property(best))
        products = ProductBench(Bench(guided, examples_of(guided)), guided=True, refits=True)
        assert len(_fits(products.start(guided.pool.names).tried)) == 2
        kept.append(products.products.second)
    for mean, of_soup in zip(*kept, strict=True):
        assert not of_soup.unflatten(0, (EXPERTS, -1))[[1, 3]].any(), "who is not in the soup has no part"
        assert mean.unflatten(0, (EXPERTS, -1)).flatten(1).any(dim=1).sum() == EXPERTS


def _fits(tried: list[SumOfExperts]) -> list[SumOfExperts]:
    return [start for start in tried if start.refitted]


def test_the_coefficients_of_an_expert_mean_the_expert_as_it_was_trained(guided: ModelSwarm) -> None:
    plain = ProductBench(Bench(guided, examples_of(guided)), guided=True)
    doubled = ProductBench(Bench(guided, examples_of(guided)), guided=True, refits=True)
    doubled.start(guided.pool.names)
    assert torch.allclose(doubled.alone(), plain.alone(), atol=1e-6)


def test_only_the_engine_that_lets_its_layers_be_heard_serves(
    guided: ModelSwarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm_lightning.baselines.product_bench.can_refit", lambda evaluator: False)
    with pytest.raises(Absent, match="listens to the model's layers, which only the engine `torch` allows"):
        RegressionMean().compose(Bench(guided, examples_of(guided)))
