"""The parts of EvoGM by hand, its rounds on a scripted landscape, and all of it on a real search's bench."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from swarm_lightning.baselines import evogm
from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.evogm import EvoGM, Generators, first_population, ranked, search
from swarm_lightning.data.examples import Example
from swarm_lightning.search import ModelSwarm

EXPERTS, EXAMPLES = 4, 8


def examples_of(module: ModelSwarm) -> tuple[Example, ...]:
    return tuple(module.trainer.datamodule.splits.validation)  # type: ignore[attr-defined]


@dataclass
class Landscape:
    """What a search may use of a bench, and a utility that is highest at a point."""

    budget: int
    best: Tensor
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    asked: list[Tensor] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple("abc")

    @property
    def affordable(self) -> int:
        return self.budget - len(self.asked)

    def utilities(self, weights: Tensor) -> Tensor:
        self.asked += list(weights)
        return -(weights - self.best).norm(dim=1)


def test_the_loss_weighs_the_way_there_and_back_against_the_way_to_the_winners_mean() -> None:
    generators = Generators(1, torch.Generator())
    # F doubles, G adds 1. Losers 1 and 2, winners 3 and 5:
    # G(F(l)) - l = 2 and 3: 13/2; F(G(w)) - w = 5 and 7: 74/2; F(l) - 4 = -2 and 0: 4/2.
    generators.to_winners, generators.to_losers = Affine(2, 0), Affine(1, 1)  # type: ignore[assignment]
    loss = generators.loss(torch.tensor([[3.0], [5.0]]), torch.tensor([[1.0], [2.0]]))
    assert float(loss) == pytest.approx(100 * (6.5 + 37) + 2)


class Affine(torch.nn.Module):
    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, numbers: Tensor) -> Tensor:
        return self.factor * numbers + self.offset


def test_proposals_of_trained_networks_lie_nearer_to_the_winners_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evogm, "EPOCHS", 100)
    draw = torch.Generator().manual_seed(0)
    winners, losers = 0.6 + 0.1 * torch.rand(6, 3, generator=draw), torch.rand(14, 3, generator=draw) - 0.9
    generators = Generators(3, draw)
    optimizer = torch.optim.Adam(generators.parameters(), lr=1e-3)
    generators.learn(optimizer, winners, losers, draw)
    proposed = generators.improve(losers)
    before, after = ((group - winners.mean(dim=0)).norm(dim=1).mean() for group in (losers, proposed))
    assert float(after) < float(before) / 2
    assert float(proposed.std(dim=0).min()) > 0.01
    assert proposed.abs().max() <= 1


def test_a_round_begins_with_the_experts_their_mean_and_numbers_between_minus_one_and_one() -> None:
    population = first_population(5, torch.Generator().manual_seed(0))
    assert population.shape == (10, 5)
    assert population[:5].equal(torch.eye(5, dtype=torch.float64))
    assert population[5].tolist() == pytest.approx([0.2] * 5)
    drawn = population[6:]
    assert drawn.abs().max() <= 1
    assert drawn.min() < -0.5
    assert drawn.max() > 0.5


def test_what_is_not_finite_is_ranked_last_and_of_equals_the_first_comes_first() -> None:
    assert ranked(torch.tensor([0.1, float("nan"), 0.3, 0.1, -float("inf")])).tolist() == [2, 0, 3, 1, 4]


def test_later_rounds_take_the_best_for_experts_and_do_not_ask_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evogm, "EPOCHS", 2)
    # A round of three experts asks 6 and three times 6; the next one knows three of its first six.
    best = torch.tensor([0.9, -0.4, 0.2], dtype=torch.float64)
    place = Landscape(6 + 18 + 3, best)
    found, utility, rounds = search(place, place.utilities)  # type: ignore[arg-type]
    assert rounds == 2
    assert len(place.asked) == 27
    every = torch.stack(place.asked)
    distances = (every - best).norm(dim=1)
    assert utility == -float(distances.min())
    assert found.equal(every[distances.argmin()])
    experts = every[:24][distances[:24].argsort(stable=True)[:3]]
    assert every[24].tolist() == pytest.approx(experts.mean(dim=0).tolist())  # the mean of the new experts


def test_it_spends_its_budget_and_reports_the_utility_of_what_it_hands_over(
    opened: ModelSwarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evogm, "EPOCHS", 5)
    place = Bench(opened, examples_of(opened), seed=1, budget=250)
    composition = EvoGM().compose(place)
    assert place.spent == 31 * EXAMPLES
    assert composition.detail.startswith("round 1 was the last: ")
    assert composition.scores is not None
    assert composition.adapter is not None
    assert float(composition.scores(examples_of(opened)).mean()) == composition.utility
    same = EvoGM().compose(Bench(opened, examples_of(opened), seed=1, budget=250))
    assert same.detail == composition.detail


def test_a_budget_without_a_first_population_is_a_reason_to_be_absent(opened: ModelSwarm) -> None:
    with pytest.raises(Absent, match=f"is too small for a population of {2 * EXPERTS} with {EXAMPLES} examples each"):
        EvoGM().compose(Bench(opened, examples_of(opened), budget=63))
