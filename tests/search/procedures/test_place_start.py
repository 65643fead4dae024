"""Where a centre begins within a budget, on scripted utilities of three experts and their sums."""

import pytest
import torch
from torch import Tensor

from swarm_lightning.search.procedures.evolution import place_start
from swarm_lightning.swarm.centre_search import CHOSEN_AMONG
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy
from swarm_lightning.swarm.space import Material
from swarm_lightning.swarm.spaces.dense import DenseSpace

NAMES, EXAMPLES, PAIR = ("a", "b", "c"), 10, 2 * 2 * 5  # a pair in each of two steps, asked 5 examples
SUMS = 2 + 1 + 1 + 3  # rounds of the soup, the mean, the soup scaled, the mean scaled
SPACE = DenseSpace(Material(torch.eye(3), sizes=[3]))
REPORTED = torch.tensor([0.9, 0.1, 0.1], dtype=torch.float64)


def by_guide(weights: Tensor) -> Tensor:
    """Higher the nearer to what the soup of a and b is nearest to: -0.51, -0.93, -1.12 alone, -0.24 the soup."""
    return -(weights - torch.tensor([0.6, 0.3, 0.1])).norm(dim=1).double()


class Begun:
    """A search that has begun with its experts, and what was asked by then."""

    def __init__(self, budget: int, reported: Tensor | None, of_sums: float = 0.2) -> None:
        self.asked = 0
        self.strategy = EvolutionStrategy([torch.eye(3)], evaluations=budget, steps=2, batch=5)
        self.strategy.enter(SPACE)
        self.strategy.begin(by_guide(torch.eye(3)), torch.Generator())

        def ask(positions: Tensor) -> Tensor:
            self.asked += len(positions)
            return by_guide(positions)

        def ask_objective(positions: Tensor) -> Tensor:
            self.asked += len(positions)
            return torch.full((len(positions),), of_sums, dtype=torch.float64)

        self.starts = place_start(
            self.strategy, NAMES, EXAMPLES, 0, budget, 0, ask, reported, ask_objective
        ).starts  # fmt: skip


WHOLE = (SUMS + CHOSEN_AMONG) * EXAMPLES + 3 * PAIR


# The soup lies 2.39 standard deviations above the experts by the guide and a 1.35; by the objective, a lies 1.41 above.
@pytest.mark.parametrize(("of_soup", "name"), [(0.6, "greedy soup of a, b"), (0.2, "best expert a")])
def test_the_objective_has_a_say_where_a_guide_is_followed(of_soup: float, name: str) -> None:
    begun = Begun(WHOLE + EXAMPLES, REPORTED, of_soup)
    assert next(iter(begun.starts)) == name
    assert begun.strategy.beginning.tolist() == ([0.5, 0.5, 0.0] if "soup" in name else [1.0, 0.0, 0.0])
    assert begun.asked == SUMS + 1
    assert begun.strategy.pairs == 3, "what it takes is paid for"


def test_without_a_guide_nobody_else_is_asked() -> None:
    begun = Begun(WHOLE, None)
    assert next(iter(begun.starts)) == "greedy soup of a, b"
    assert len(begun.starts) == 7
    assert (begun.asked, begun.strategy.pairs) == (SUMS, 3)


def test_a_small_budget_goes_to_mean_and_soup_and_a_search_before_the_objective_has_a_say() -> None:
    begun = Begun((3 + CHOSEN_AMONG) * EXAMPLES + PAIR, REPORTED)
    assert next(iter(begun.starts)) == "greedy soup of a, b"
    assert (begun.asked, begun.strategy.pairs) == (3, 1)
    begun = Begun((4 + CHOSEN_AMONG) * EXAMPLES + PAIR, REPORTED)
    assert next(iter(begun.starts)) == "best expert a"
    assert (begun.asked, begun.strategy.pairs) == (4, 1)
