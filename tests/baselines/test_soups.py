"""Uniform and greedy soup, by hand."""

import torch
from torch import Tensor

from swarm_lightning.baselines.soups import greedy_soup, uniform_soup

EXPERTS = torch.tensor([[0.0, 4.0], [2.0, 2.0], [10.0, 0.0]])


def test_the_uniform_soup_is_the_mean() -> None:
    assert uniform_soup(EXPERTS).tolist() == [4.0, 2.0]


def test_the_greedy_soup_keeps_what_does_not_make_it_worse_and_tries_the_best_first() -> None:
    # One dimension, utility -|x - 3|: the experts 2, 8, 0, 5 alone have -1, -5, -3, -2. By falling utility 2, 5, 0, 8:
    # mean(2, 5) = 3.5 has -0.5, kept; mean(2, 5, 0) = 7/3 has -2/3, left out; mean(2, 5, 8) = 5 has -2, left out.
    experts = torch.tensor([[2.0], [8.0], [0.0], [5.0]])
    tried: list[float] = []

    def utility_of(soup: Tensor) -> float:
        tried.append(round(float(soup), 4))
        return -abs(float(soup) - 3)

    chosen, utility = greedy_soup(experts, torch.tensor([-1.0, -5.0, -3.0, -2.0]), utility_of)
    assert (chosen, utility) == ([0, 3], -0.5)
    assert tried == [3.5, 2.3333, 5.0]


def test_an_expert_that_changes_nothing_is_kept() -> None:
    # Recipe 1 compares with >=: the soup is still (1 + 1) / 2.
    chosen, _ = greedy_soup(torch.tensor([[1.0], [1.0]]), torch.tensor([0.5, 0.5]), lambda soup: 0.5)
    assert chosen == [0, 1]
