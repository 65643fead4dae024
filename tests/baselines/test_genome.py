"""The operators of GENOME, one by one."""

import pytest
import torch

from swarm_lightning.baselines.genome import Individuals, cross, mutate, offspring, select, succeed, worth


def test_a_child_is_the_mean_of_its_parents_by_what_they_are_worth() -> None:
    # Utilities 0.2 and 0.6: shares 1/4 and 3/4.
    parents = torch.tensor([[0.0, 8.0], [4.0, 0.0]])
    assert cross(parents, torch.tensor([0.2, 0.6])).tolist() == pytest.approx([3.0, 2.0])
    assert cross(parents, torch.zeros(2)).tolist() == [2.0, 4.0]


def test_worth_is_never_negative_and_unknown_counts_lowest() -> None:
    assert worth(torch.tensor([-2.0, -0.5, float("-inf")])).tolist() == [0.0, 1.5, 0.0]


def test_a_mutant_differs_a_little_in_a_few_weights() -> None:
    weights = torch.zeros(20_000)
    mutant = mutate(weights, torch.Generator().manual_seed(0))
    changed = mutant[mutant != 0]
    # 1% of 20000 is 200, standard deviation 14; the noise has standard deviation 0.01.
    assert 130 < len(changed) < 270
    assert float(changed.std()) == pytest.approx(0.01, rel=0.2)
    assert not weights.any()


def test_succession_goes_to_the_best_and_away_from_the_worst() -> None:
    # Draws of 1: shares 0.5 / 0.55 and 0.05 / 0.55 = 10/11 and 1/11; half a step from 1 with best 2.1 and worst -0.1:
    # 0.5 * (10/11 * 1.1 + 1/11 * 1.1) = 0.55.
    found = succeed(torch.tensor([1.0]), torch.tensor([2.1]), torch.tensor([-0.1]), torch.ones(1, 4))
    assert found.tolist() == pytest.approx([1.55])


def test_selection_keeps_the_best_and_nobody_twice() -> None:
    utilities = torch.tensor([0.1, 0.9, 0.3, float("nan"), 0.5, 0.2])
    for seed in range(20):
        chosen = select(utilities, 4, torch.Generator().manual_seed(seed))
        assert chosen[0] == 1
        assert len(set(chosen)) == 4


def test_a_tournament_of_three_never_takes_the_lowest_two() -> None:
    # Of five others three compete for one place: the two lowest can't both be absent, nor win.
    utilities = torch.tensor([0.9, 0.1, 0.2, 0.5, 0.6, 0.7])
    winners = {select(utilities, 2, torch.Generator().manual_seed(seed))[1] for seed in range(200)}
    assert winners == {3, 4, 5}


def test_children_lie_between_parents_and_parents_with_worth_are_preferred() -> None:
    # Only the individuals 0 and 1 are worth anything, so every pair is these two and every child 0.5.
    population = Individuals([*torch.tensor([[0.0], [1.0], [50.0]])], torch.tensor([0.5, 0.5, 0.0]))
    young = [float(one) for seed in range(60) for one in offspring(population, torch.Generator().manual_seed(seed))]
    children = [one for one in young if abs(one - 0.5) < 1e-6]
    assert len(children) > 30  # 60 pairs, 80% of which cross
