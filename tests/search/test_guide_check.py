"""How a guide's ranks are compared with the objective's: against scipy, and what follows in clear and unclear cases."""

import math
from collections.abc import Sequence

import pytest
import torch
from scipy import stats
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.objectives import ChoiceLogShare, MultipleChoice
from swarm_lightning.search.guide import (
    GuideCheck,
    Shown,
    check_guide,
    error_of_unrelated,
    kendall,
    mixture_of,
    show,
    spearman,
)
from swarm_lightning.swarm.optimizer import ParticleSwarm

EXAMPLES = [Example(f"{number}?", choices={"A": "x", "B": "y"}, answer="A") for number in range(100)]
CANDIDATES = 12
# Between a third and two thirds right, in equal distances.
ABILITIES = torch.linspace(0.3, 0.7, CANDIDATES)
SHUFFLED = torch.tensor([5, 0, 9, 2, 11, 7, 1, 4, 10, 3, 8, 6]).float()  # without a clear order


def evaluation(scores: Tensor) -> Evaluation:
    utilities = scores.mean(dim=1)
    return Evaluation(scores, [], utilities, torch.stack([utilities, utilities], dim=1))


def replies(abilities: Tensor) -> Tensor:
    """Right answers [P, M], as many as the ability says, each candidate's at other places."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for ability in abilities.tolist():
        row = torch.zeros(len(EXAMPLES), dtype=torch.float64)
        row[torch.randperm(len(EXAMPLES), generator=generator)[: round(ability * len(EXAMPLES))]] = 1.0
        rows.append(row)
    return torch.stack(rows)


def by_guide(utilities: Tensor) -> Evaluation:
    """What a guide says whose scores are the same on every example of a candidate."""
    return evaluation(utilities.double()[:, None].expand(-1, len(EXAMPLES)).contiguous())


def check(of_guide: Tensor, of_objective: Tensor, mixing: bool = False) -> GuideCheck:
    objective, guided = MultipleChoice(), by_guide(of_guide)
    return check_guide(ChoiceLogShare(objective), guided, objective, evaluation(of_objective), EXAMPLES, mixing)


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlations_are_those_of_scipy_with_ties(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randint(0, 6, (2, 15), generator=generator).double()
    assert float(kendall(first, second)) == pytest.approx(stats.kendalltau(first, second).statistic)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_unrelated_ranks_vary_as_said() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(2, 20_000, 10, generator=generator)
    assert float(kendall(drawn[0], drawn[1]).std()) == pytest.approx(error_of_unrelated(10), rel=0.03)


def test_a_guide_that_ranks_as_the_objective_is_followed() -> None:
    found = check(ABILITIES.log(), replies(ABILITIES))
    assert found.followed
    assert found.kendall == pytest.approx(1.0)
    assert found.spearman == pytest.approx(1.0)
    # Twelve numbers in equal distances from 0.3 to 0.7: 0.4 / 11 sqrt(12 x 13 / 12).
    assert found.spread == pytest.approx(0.4 / 11 * math.sqrt(13), rel=0.02)
    # A candidate's share of right answers among 100 varies by sqrt(p (1 - p) / 100), about 0.05.
    assert found.noise == pytest.approx(math.sqrt(0.5 * 0.5 / 100), rel=0.15)
    assert "ranks as MultipleChoice does" in str(found)


def test_a_guide_that_ranks_the_other_way_round_is_dropped() -> None:
    found = check(-ABILITIES, replies(ABILITIES))
    assert not found.followed
    assert found.kendall == pytest.approx(-1.0)
    assert "does not rank as MultipleChoice does" in str(found)
    assert "is dropped, and the search follows MultipleChoice itself" in str(found)


def test_a_guide_without_a_clear_order_is_dropped_where_the_objective_has_one() -> None:
    found = check(SHUFFLED, replies(ABILITIES))
    assert abs(found.kendall) < 1.645 * found.error
    assert not found.followed


def test_where_the_objective_chooses_in_the_end_a_guide_is_dropped_only_if_it_clearly_misleads() -> None:
    objective, scores = MultipleChoice(), evaluation(replies(ABILITIES))
    guide = ChoiceLogShare(objective)
    unclear = check_guide(guide, by_guide(SHUFFLED), objective, scores, EXAMPLES, protected=True)
    assert abs(unclear.kendall) < 1.645 * unclear.error
    assert unclear.followed
    assert not unclear.mixed
    assert "is unclear" in str(unclear)
    assert "the search follows the guide" in str(unclear)
    assert not check_guide(guide, by_guide(-ABILITIES), objective, scores, EXAMPLES, protected=True).followed
    # Of four, five pairs of six the other way round: not clear, and yet more than a standard error.
    four = torch.tensor([0.2, 0.4, 0.6, 0.8])
    few = check_guide(guide, by_guide(-four[[1, 0, 2, 3]]), objective, evaluation(replies(four)), EXAMPLES, False, True)
    assert few.kendall == pytest.approx(-4 / 6)
    assert -1.645 * few.error < few.kendall < -few.error
    assert not few.followed
    assert check_guide(guide, by_guide(SHUFFLED), objective, scores, EXAMPLES, mixing=True, protected=True).mixed


@pytest.mark.parametrize("count", [2, 3])
def test_of_few_candidates_a_guide_is_followed_that_ranks_them_as_the_objective_does(count: int) -> None:
    abilities = torch.tensor([0.2, 0.5, 0.8])[:count]
    found = check(abilities.log(), replies(abilities))
    assert found.kendall == pytest.approx(1.0)
    assert 1.645 * found.error > 1, "no order of so few is clear"
    assert found.spread > 1.5 * found.noise, "the objective tells them apart"
    assert found.followed
    assert f"over {count} first candidates): so few can't show it clearly, and the search follows" in str(found)
    other = check(-abilities, replies(abilities))
    assert not other.followed
    assert "is dropped" in str(other)
    assert check(abilities, replies(abilities), mixing=True).mixed, "what is to be mixed where it is unclear, is"


def test_of_four_a_guide_is_followed_that_ranks_five_of_six_pairs_as_the_objective_does() -> None:
    abilities = torch.tensor([0.2, 0.4, 0.6, 0.8])
    found = check(abilities[[1, 0, 2, 3]], replies(abilities))
    assert found.kendall == pytest.approx(4 / 6)
    assert found.kendall < 1.645 * found.error
    assert found.followed
    assert not found.mixed
    assert not check(abilities[[3, 0, 2, 1]], replies(abilities)).followed, "two of six pairs"


def test_a_guide_is_followed_where_the_objective_tells_nobody_apart() -> None:
    found = check(ABILITIES, replies(torch.full((CANDIDATES,), 0.5)))
    assert found.kendall == 0.0
    assert found.spread == 0.0
    assert found.followed
    assert "differ by no more than noise: the search follows the guide" in str(found)


def test_broken_candidates_are_not_ranked() -> None:
    scores = replies(ABILITIES)
    scores[4] = -math.inf
    assert check(ABILITIES, scores).candidates == CANDIDATES - 1


def test_a_guide_without_a_clear_order_is_mixed_where_that_is_wanted_and_one_that_misleads_is_not() -> None:
    found = check(SHUFFLED, replies(ABILITIES), mixing=True)
    assert (found.followed, found.mixed, found.share) == (True, True, 0.5)
    assert "follows both, 50% and 50%" in str(found)
    for guide in (ABILITIES, -ABILITIES):
        assert not check(guide, replies(ABILITIES), mixing=True).mixed
    assert not check(torch.zeros(CANDIDATES), replies(ABILITIES), mixing=True).followed, "there is nothing to mix in"


def test_a_mixture_counts_both_in_standard_deviations_among_the_first_candidates() -> None:
    scores = replies(ABILITIES)
    found = check(SHUFFLED, scores, mixing=True)
    mixed = found.mixture(ChoiceLogShare(MultipleChoice()), MultipleChoice())
    made = mixture_of(mixed, by_guide(SHUFFLED), evaluation(scores))
    one, other = SHUFFLED.numpy(), scores.mean(dim=1).numpy()
    expected = 0.5 * stats.zscore(one, ddof=1) + 0.5 * stats.zscore(other, ddof=1)
    assert made.utilities.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    # What it says of a new candidate: 1 by the guide on one example, and right.
    assert mixed.mix(1.0, 1.0) == pytest.approx(
        0.5 * (1 - one.mean()) / one.std(ddof=1) + 0.5 * (1 - other.mean()) / other.std(ddof=1)
    )


@pytest.fixture
def moved() -> ParticleSwarm:
    """A swarm of two particles that has begun."""
    swarm = ParticleSwarm([torch.nn.Parameter(torch.tensor([[0.0], [1.0]]), requires_grad=False)])
    swarm.begin(torch.tensor([-2.0, -1.0], dtype=torch.float64), torch.Generator().manual_seed(0))
    return swarm


def test_the_objective_is_asked_about_a_new_best_when_it_is_due_and_once(moved: ParticleSwarm) -> None:
    asked: list[tuple[float, list[int]]] = []

    def ask(positions: Tensor, numbers: Sequence[int]) -> Evaluation:
        asked.append((float(positions[0]), list(numbers)))
        return evaluation(torch.full((1, 2), 0.25 * len(asked), dtype=torch.float64))

    shown = Shown(every=2)
    first = torch.tensor([0.9, 0.1], dtype=torch.float64)
    said = [show(shown, moved, first, {}, ask)]
    # By the guide: particle 0 is best from iteration 1 on, when the objective is not due.
    for utilities in ([-0.5, -3.0], [-2.0, -3.0], [-2.0, -3.0], [-2.0, -3.0]):
        moved.step(lambda now=utilities: torch.tensor(now, dtype=torch.float64))  # type: ignore[misc]
        said.append(show(shown, moved, first, {}, ask))
    assert said[0] == 0.1  # particle 1, as the first positions are known
    assert math.isnan(said[1])
    assert said[2:] == [0.25, 0.25, 0.25]
    assert asked == [(float(moved.swarm.global_best), [0])]
    moved.step(lambda: torch.tensor([-2.0, -0.25], dtype=torch.float64))
    assert math.isnan(show(shown, moved, first, {}, ask))
    moved.choose(1, 0.5)
    assert show(shown, moved, first, {"particle 1": 0.5, "particle 0": 0.25}, ask) == 0.5
    assert len(asked) == 1
