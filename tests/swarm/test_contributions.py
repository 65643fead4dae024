"""The utility of a model, calculated by hand from the assignments it took part in."""

import math

import pytest
import torch

from swarm_lightning.swarm.contributions import contributions, draw_assignments


def test_a_model_counts_as_often_as_it_stood_in_an_assignment() -> None:
    assignments = torch.tensor([[0, 0, 1], [1, 2, 0], [2, 2, 2]])
    found = contributions(assignments, torch.tensor([0.9, 0.3, 0.6]), 3)
    # 0: twice 0.9, once 0.3. 1: once 0.9, once 0.3. 2: once 0.3, three times 0.6.
    assert found.tolist() == pytest.approx([2.1 / 3, 1.2 / 2, 2.1 / 4])


def test_a_model_that_was_not_drawn_has_no_new_utility() -> None:
    found = contributions(torch.tensor([[0, 2], [2, 2]]), torch.tensor([0.5, 0.1]), 4)
    assert found[[0, 2]].tolist() == pytest.approx([0.5, 0.7 / 3])
    assert found[[1, 3]].isnan().all()


def test_a_broken_assignment_tells_nothing_of_models_that_others_drew() -> None:
    found = contributions(torch.tensor([[0, 1], [0, 2]]), torch.tensor([-math.inf, 0.4], dtype=torch.float64), 3)
    assert found.tolist() == [0.4, -math.inf, 0.4]


def test_assignments_are_drawn_with_repetition_of_usable_models_only() -> None:
    drawn = draw_assignments(50, 4, [0, 2, 3], torch.Generator().manual_seed(0))
    assert drawn.shape == (50, 4)
    assert set(drawn.flatten().tolist()) == {0, 2, 3}
    assert any(len(set(row)) < 4 for row in drawn.tolist())
    again = draw_assignments(50, 4, [0, 2, 3], torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
