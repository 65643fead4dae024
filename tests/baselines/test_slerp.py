"""Spherical interpolation, by hand."""

import math

import pytest
import torch

from swarm_lightning.baselines.slerp import slerp


def test_unit_vectors_go_along_the_arc_at_an_even_speed() -> None:
    # From (1, 0) to (cos 60°, sin 60°): a third of the way is 20°.
    end = torch.tensor([0.5, math.sqrt(0.75)], dtype=torch.float64)
    found = slerp(torch.tensor([1.0, 0.0], dtype=torch.float64), end, 1 / 3)
    assert found.tolist() == pytest.approx([math.cos(math.pi / 9), math.sin(math.pi / 9)])


def test_lengths_are_weighed_like_directions() -> None:
    # A right angle: sin(45°) / sin(90°) = 0.7071 of each, so (2, 0) and (0, 4) give (1.4142, 2.8284).
    found = slerp(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]]), 0.5)
    assert found.shape == (1, 2)
    assert found.flatten().tolist() == pytest.approx([math.sqrt(2), math.sqrt(8)])


@pytest.mark.parametrize(
    ("first", "second"), [([1.0, 2.0], [2.0, 4.0]), ([1.0, 2.0], [-1.0, -2.0]), ([0.0, 0.0], [1, 2])]
)
def test_parallel_opposite_and_zero_tensors_are_joined_by_a_straight_line(
    first: list[float], second: list[float]
) -> None:
    found = slerp(torch.tensor(first), torch.tensor(second), 0.25)
    assert found.tolist() == pytest.approx([0.75 * a + 0.25 * b for a, b in zip(first, second, strict=True)])


def test_the_ends_are_the_experts() -> None:
    first, second = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(slerp(first, second, 0.0), first)
    torch.testing.assert_close(slerp(first, second, 1.0), second)
