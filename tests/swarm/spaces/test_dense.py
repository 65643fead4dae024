"""Weights in memory: where they begin, what moves them, and that nothing stands beside the swarm."""

from collections.abc import Sequence
from itertools import permutations

import pytest
import torch

from swarm_lightning.swarm import fused_move
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.space import Circumstances, Material
from swarm_lightning.swarm.spaces import SPACES
from swarm_lightning.swarm.spaces.dense import DenseSpace, TensorSpace
from swarm_lightning.vectors import Vector

EXPERTS = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("experts", [EXPERTS, list(EXPERTS)], ids=["a matrix", "vectors"])
def test_the_experts_come_first_and_children_lie_on_lines_through_two_of_them(experts: Sequence[Vector]) -> None:
    space = DenseSpace(Material(experts, sizes=[3, 4]))
    positions = space.first_positions(Start(), 6, 2.0, torch.Generator().manual_seed(1))
    assert positions[:3].equal(EXPERTS)
    for child in positions[3:].double():
        misses = []
        for first, second in permutations(EXPERTS.double(), 2):
            share = (child - second) @ (first - second) / (first - second).square().sum()
            misses.append(float((share * first + (1 - share) * second - child).norm()))
        assert min(misses) < 1e-5


def test_a_start_with_the_base_takes_the_one_that_is_given_or_zeros() -> None:
    base = torch.full((7,), 2.0)
    for given, expected in ((base, base), (None, torch.zeros(7))):
        space = DenseSpace(Material(EXPERTS, sizes=[7], base=given))
        positions = space.first_positions(Start("experts_and_base"), 4, 2.0, torch.Generator())
        assert positions[3].equal(expected)


def test_groups_are_the_sizes_of_the_tensors_where_these_are_moved_apart() -> None:
    material = Material(EXPERTS, sizes=[3, 4])
    assert DenseSpace(material).groups is None
    assert TensorSpace(material).groups == [3, 4]


def test_the_compiled_kernel_is_chosen_where_it_is_worth_it_and_never_for_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    material = Material(EXPERTS, sizes=[3, 4])
    assert DenseSpace(material).settle("auto", EXPERTS) == "plain"
    monkeypatch.setattr(fused_move, "WORTH_COMPILING", 1)
    assert DenseSpace(material).settle("auto", EXPERTS) == "compiled"
    assert TensorSpace(material).settle("auto", EXPERTS) == "plain"
    assert DenseSpace(material).settle("plain", EXPERTS) == "plain"


@pytest.mark.parametrize("name", ["memory/tensor", "memory/coefficient"])
def test_a_kernel_that_is_asked_for_is_refused_with_groups(name: str) -> None:
    with pytest.raises(ValueError, match=f"kernel to be auto or plain with draws: {name[7:]}, but got 'compiled'"):
        SPACES[name].check(Circumstances(kernel="compiled"))
    SPACES["memory/particle"].check(Circumstances("compiled", Start("base_and_sparsified"), 4, True))


def test_what_is_held_is_the_weights_and_a_checkpoint_needs_nothing_else() -> None:
    space = DenseSpace()
    assert space.vectors(EXPERTS) is EXPERTS
    assert space.record({"positions": EXPERTS}) == {"kind": "memory"}
    assert space.coefficients(EXPERTS[0]).shape == (0, 0)
    assert torch.equal(DenseSpace(Material(EXPERTS)).expert(1)[:], EXPERTS[1])
