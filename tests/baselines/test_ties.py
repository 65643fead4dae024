"""TIES and DARE-TIES on tensors that can be merged by hand."""

import pytest
import torch

from swarm_lightning.baselines.ties import merge_dare_ties, merge_ties
from swarm_lightning.experts.layout import Layout

LAYOUT = Layout(("a", "b"), ((2, 2), (2,)))


@pytest.mark.smoke
def test_ties_trims_elects_and_averages_tensor_by_tensor() -> None:
    # Tensor a, density 0.5, keeps the two largest of four: (5, 0, -4, 0), (3, 0, 6, 0), (0, -7, -8, 0).
    # Signs by sums 8, -7, -6: +, -, -. Means of those that agree: (5 + 3) / 2, -7, (-4 - 8) / 2, none.
    # Tensor b keeps one of two: (9, 0), (0, -2), (0, 1): signs +, -; 9 and -2.
    experts = torch.tensor(
        [
            [5.0, 1.0, -4.0, 2.0, 9.0, 1.0],
            [3.0, -1.0, 6.0, 1.0, 1.0, -2.0],
            [2.0, -7.0, -8.0, 1.0, 0.5, 1.0],
        ]
    )
    assert merge_ties(experts, LAYOUT, 0.5).tolist() == [4.0, -7.0, -6.0, 0.0, 9.0, -2.0]


def test_the_padding_of_a_smaller_rank_is_not_counted_as_weights() -> None:
    # Two weights beside two of padding, density 0.5: one is kept, as without the padding; of four, two are.
    narrow, wide = [5.0, 1.0, 0.0, 0.0], [1.0, 3.0, -4.0, 2.0]
    merged = merge_ties(torch.tensor([narrow, wide]), Layout(("a",), ((2, 2),)), 0.5)
    assert merged.tolist() == [5.0, 3.0, -4.0, 0.0]


def test_with_a_base_ties_merges_what_experts_add_to_it() -> None:
    # Differences from (1, 1, 1, 1): (4, 0, -2, 1) and (2, 0, 3, -6). Half of each: (4, 0, -2, 0) and (0, 0, 3, -6).
    # Signs by sums 4, 0, 1, -6: 4, nothing, 3, -6; and the base again.
    experts, base = torch.tensor([[5.0, 1.0, -1.0, 2.0], [3.0, 1.0, 4.0, -5.0]]), torch.ones(4)
    assert merge_ties(experts, Layout(("a",), ((4,),)), 0.5, base).tolist() == [5.0, 1.0, 4.0, -5.0]
    assert base.tolist() == [1.0] * 4


def test_with_a_base_dare_drops_and_rescales_what_an_expert_adds_to_it() -> None:
    base = torch.full((400,), 10.0)
    merged = merge_dare_ties(base.unsqueeze(0) + 1, Layout(("a",), ((400,),)), 0.25, seed=1, origin=base)
    assert set(merged.tolist()) == {10.0, 14.0}


def test_a_single_dare_keeps_and_rescales_or_drops() -> None:
    experts = torch.ones(1, 6000)
    layout = Layout(("a",), ((6000,),))
    merged = merge_dare_ties(experts, layout, 0.25, seed=1)
    assert set(merged.tolist()) == {0.0, 4.0}
    # 1500 expected to stay, standard deviation sqrt(6000 * 0.25 * 0.75) = 33.5.
    assert 1500 - 5 * 33.5 < int((merged > 0).sum()) < 1500 + 5 * 33.5


@pytest.mark.smoke
def test_dare_ties_averages_what_agrees_among_what_is_left() -> None:
    # With density 0.5 a kept weight doubles. Of 1 and 3, merged is 0 (none kept), 2, 6 or their mean 4.
    experts = torch.tensor([[1.0], [3.0]]).expand(2, 400)
    merged = merge_dare_ties(experts.contiguous(), Layout(("a",), ((400,),)), 0.5, seed=0)
    assert set(merged.tolist()) == {0.0, 2.0, 4.0, 6.0}


def test_dare_ties_is_drawn_by_its_seed_and_leaves_other_random_numbers_alone() -> None:
    experts = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = merge_dare_ties(experts, LAYOUT, 0.5, seed=3)
    assert torch.rand(3).equal(expected)
    assert merge_dare_ties(experts, LAYOUT, 0.5, seed=3).equal(first)
    assert not merge_dare_ties(experts, LAYOUT, 0.5, seed=4).equal(first)


def test_no_weight_appears_that_no_expert_has() -> None:
    experts = torch.tensor([[1.0, 0.0, 2.0, 0.0, 3.0, 0.0]] * 2)
    assert merge_ties(experts, LAYOUT, 0.9)[1::2].tolist() == pytest.approx([0.0, 0.0, 0.0])
