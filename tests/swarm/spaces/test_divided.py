"""Coefficients of what experts add, in groups: where they begin, what they make, and what they refuse."""

import pytest
import torch

from swarm_lightning.swarm import ParticleSwarm
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.space import Circumstances, Material
from swarm_lightning.swarm.spaces.coefficients import CoefficientSpace
from swarm_lightning.swarm.spaces.divided import DividedSpace, DrawnDividedSpace, Stretches

EXPERTS = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
SIZES = [2, 3, 1, 6]
GROUPS = ("front", "back")
DIVISION = [0, 0, 1, 0]  # front: weights 0 to 4 and 6 to 11; back: weight 5


def adapters(groups: tuple[str, ...] = GROUPS) -> DividedSpace:
    return DividedSpace(Material(EXPERTS, SIZES, groups=groups))


def models(base: torch.Tensor | None = None) -> DividedSpace:
    return DividedSpace(Material(EXPERTS, SIZES, base, differences=False, groups=GROUPS, division=DIVISION))


@pytest.mark.parametrize("groups", [("all",), GROUPS, tuple("abcdef")])
def test_a_population_begins_with_the_experts_whole_the_base_and_children_of_these(groups: tuple[str, ...]) -> None:
    first = adapters(groups).first_positions(Start("experts_and_base"), 9, 2.0, torch.Generator().manual_seed(1))
    assert first.shape == (9, 3 * len(groups))
    table = first.view(9, 3, len(groups))
    for group in range(len(groups)):
        assert table[:4, :, group].equal(torch.cat([torch.eye(3), torch.zeros(1, 3)]))
        parents = table[:4, :, group]
        for child in table[4:, :, group]:  # on a line through two of the four
            lines = [(one, other) for one in parents for other in parents if not one.equal(other)]
            assert any(_on_line(child, one, other) for one, other in lines)
    if len(groups) > 1:
        assert not table[4:, :, 0].equal(table[4:, :, 1]), "children are the same in all groups"


def _on_line(child: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> bool:
    share = float((child - other) @ (one - other) / (one - other).square().sum())
    return torch.allclose(child, share * one + (1 - share) * other, atol=1e-6) and -1e-6 <= share <= 2


def test_one_group_begins_as_coefficients_of_whole_experts_do() -> None:
    one = adapters(("all",)).first_positions(Start(), 7, 2.0, torch.Generator().manual_seed(4))
    assert one.equal(
        CoefficientSpace(Material(EXPERTS)).first_positions(Start(), 7, 2.0, torch.Generator().manual_seed(4))
    )


def test_of_adapters_the_coefficients_themselves_are_asked() -> None:
    space, held = adapters(), torch.arange(12.0).view(2, 6)
    assert space.vectors(held) is held
    assert space.vector(held[1])[:].equal(held[1])
    assert space.expert(1)[:].tolist() == [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    assert space.coefficients(held[1]).tolist() == [[6.0, 7.0], [8.0, 9.0], [10.0, 11.0]]
    assert space.empty(5).shape == (5, 6)


@pytest.mark.parametrize("named", [True, False], ids=["with a base", "without a base"])
def test_of_whole_models_differences_from_the_origin_are_added_tensor_by_tensor(named: bool) -> None:
    base = torch.randn(12, generator=torch.Generator().manual_seed(7)) if named else None
    space = models(base)
    origin = EXPERTS.mean(dim=0) if base is None else base
    held = torch.tensor([0.5, 1.0, -0.25, 0.0, 0.75, 2.0])
    front, back = held[0::2].double(), held[1::2].double()
    expected = origin + front @ (EXPERTS - origin).double()
    expected[5] = (origin + back @ (EXPERTS - origin).double())[5]
    found = space.vector(held)
    assert len(found) == 12
    torch.testing.assert_close(found[:].double(), expected.double(), rtol=1e-6, atol=1e-6)
    assert torch.cat([found[:4], found[4:5], found[5:7], found[7:12]]).equal(found[:])
    assert found[6:2].tolist() == []
    for place in range(3):  # an expert alone is itself, bit for bit
        whole = torch.eye(3)[place].repeat_interleave(2)
        assert space.vector(whole)[:].equal(EXPERTS[place])
        assert space.expert(place)[:].equal(EXPERTS[place])
    assert [vector[:].tolist() for vector in space.vectors(held[None])] == [found[:].tolist()]
    assert space.differences_from == ("model.base" if named else "the experts' mean")


def test_stretches_that_are_not_asked_for_are_not_read() -> None:
    class Unreadable:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, weights: slice) -> torch.Tensor:
            raise AssertionError("was read")

    stretches = Stretches([EXPERTS[0], Unreadable()], [0, 5, 9], [0, 1, 0])
    assert stretches[0:5].equal(EXPERTS[0][:5])
    assert stretches[9:12].equal(EXPERTS[0][9:])


@pytest.mark.parametrize(("kind", "shared"), [(DividedSpace, True), (DrawnDividedSpace, False)])
def test_random_numbers_are_a_particles_or_each_coefficients_own(kind: type[DividedSpace], shared: bool) -> None:
    space = kind(Material(EXPERTS, SIZES, groups=GROUPS))
    positions = torch.nn.Parameter(space.first_positions(Start(), 3, 2.0, torch.Generator()), requires_grad=False)
    swarm = ParticleSwarm([positions], repel=0.0, first_velocity="zero")
    swarm.enter(space)
    swarm.begin(torch.tensor([1.0, 2.0, 3.0]), torch.Generator().manual_seed(5))
    swarm.step(lambda: torch.zeros(3))
    # Particle 0 was pulled from expert 0 towards expert 2, the global best, and had nothing else to follow.
    moved = positions[0].view(3, 2)
    assert moved[0].lt(1).all()
    assert moved[2].gt(0).all()
    assert (len(set(moved[2].tolist())) == 1) == shared
    assert (space.groups is None) == shared


@pytest.mark.parametrize("kind", [DividedSpace, DrawnDividedSpace])
def test_sparsified_experts_are_no_sums_and_the_compiled_kernel_moves_no_groups(kind: type[DividedSpace]) -> None:
    with pytest.raises(ValueError, match="experts, experts_and_base or experts_and_sums with model.coefficients"):
        kind.check(Circumstances(start=Start("base_and_sparsified")))
    kind.check(Circumstances(start=Start("experts_and_base"), ranks=4, keeps_all=True))
    DividedSpace.check(Circumstances(kernel="compiled"))
    with pytest.raises(ValueError, match="draws: coefficient"):
        DrawnDividedSpace.check(Circumstances(kernel="compiled"))


def test_experts_with_second_versions_begin_with_their_first_and_count_as_one() -> None:
    space = DividedSpace(Material(EXPERTS, SIZES, groups=GROUPS, versions=2))
    first = space.first_positions(Start(), 3, 2.0, torch.Generator().manual_seed(1))
    assert first.equal(
        torch.cat(
            [adapters().first_positions(Start(), 3, 2.0, torch.Generator().manual_seed(1)), torch.zeros(3, 6)], dim=1
        )
    )
    assert space.empty(5).shape == (5, 12)
    expert = space.expert(1)
    assert isinstance(expert, torch.Tensor)
    assert expert.tolist() == [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, *[0.0] * 6]
    held = torch.arange(12.0)
    assert space.coefficients(held).equal((held[:6] + held[6:]).view(3, 2))
