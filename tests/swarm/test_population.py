import math
from itertools import combinations
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm.population import Start, StartKind, first_velocities, grow_population, other_than


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lineage(child: Tensor, experts: Tensor) -> tuple[int, int, float]:
    """Find the two experts on whose line a child lies, and its place: 0 at the second, 1 at the first."""
    found = []
    for first, second in combinations(range(len(experts)), 2):
        origin, direction = experts[second].double(), (experts[first] - experts[second]).double()
        place = float((child.double() - origin) @ direction / (direction @ direction))
        if (origin + place * direction - child.double()).norm() < 1e-4:
            found.append((first, second, place))
    assert len(found) == 1, f"Expected the child on exactly one line through two experts, but got {found}."
    return found[0]


@pytest.fixture(scope="module")
def experts() -> Tensor:
    return torch.randn(4, 16, generator=seeded(0))


def test_the_experts_stay_in_front_bit_for_bit(experts: Tensor) -> None:
    positions = grow_population(experts, 9, 2.0, seeded(1))
    assert positions.shape == (9, 16)
    assert positions[:4].equal(experts)


def test_the_experts_are_copied_and_left_alone(experts: Tensor) -> None:
    before = experts.clone()
    positions = grow_population(experts, 9, 2.0, seeded(1))
    positions.zero_()
    assert experts.equal(before)


def test_as_many_particles_as_experts_is_the_experts(experts: Tensor) -> None:
    assert grow_population(experts, 4, 2.0, seeded(1)).equal(experts)
    assert grow_population(experts[:1], 1, 2.0, seeded(1)).equal(experts[:1])


def test_a_population_grows_where_it_is_told_to(experts: Tensor) -> None:
    place = torch.empty(9, 16)
    assert grow_population(experts, 9, 2.0, seeded(1), out=place) is place
    assert place.equal(grow_population(experts, 9, 2.0, seeded(1)))


@pytest.mark.parametrize("place", [torch.empty(8, 16), torch.empty(9, 16, dtype=torch.float64)])
def test_a_place_of_another_shape_or_type_is_refused(experts: Tensor, place: Tensor) -> None:
    with pytest.raises(ValueError, match=r"out to be \(9, 16\) float32, but got \("):
        grow_population(experts, 9, 2.0, seeded(1), out=place)


def test_interpolated_children_lie_between_two_different_experts(experts: Tensor) -> None:
    positions = grow_population(experts, 204, 1.0, seeded(2))
    places = torch.tensor([lineage(child, experts)[2] for child in positions[4:]])
    assert 0 < places.min() < 0.1
    assert 0.9 < places.max() < 1


def test_children_of_span_two_lie_up_to_one_distance_beyond_either_expert(experts: Tensor) -> None:
    # t a + (1 - t) b with t in (0, 2): between a and b for t < 1, beyond a for t > 1. Seen from the pair in order, with
    # the roles of a and b drawn at random, places run from -1 to 2; half of the children interpolate, and a quarter
    # each lies beyond the one and the other. Of 800: 400 +- 14 and 200 +- 12; four standard deviations are allowed.
    positions = grow_population(experts, 804, 2.0, seeded(3))
    places = torch.tensor([lineage(child, experts)[2] for child in positions[4:]])
    assert -1 < places.min() < -0.9
    assert 1.9 < places.max() < 2
    assert abs(int(((places > 0) & (places < 1)).sum()) - 400) < 57
    assert abs(int((places < 0).sum()) - 200) < 49
    assert abs(int((places > 1).sum()) - 200) < 49


def test_every_pair_of_experts_is_crossed_equally_often(experts: Tensor) -> None:
    # Six pairs in 1200 children: 200 +- 13 each; four standard deviations are allowed.
    positions = grow_population(experts, 1204, 2.0, seeded(4))
    pairs = [lineage(child, experts)[:2] for child in positions[4:]]
    counts = {pair: pairs.count(pair) for pair in combinations(range(4), 2)}
    assert all(abs(count - 200) < 52 for count in counts.values()), counts


def test_the_share_is_uniform_up_to_the_span() -> None:
    # With a = (1, 0) and b = (0, 1) a child reads (t, 1 - t) or (1 - t, t), so that t or 1 - t is its first weight.
    # t ~ U(0, 1) either way: mean 1/2, standard deviation 1/sqrt(12) = 0.289, or 0.0065 for the mean of 2000.
    positions = grow_population(torch.eye(2), 2002, 1.0, seeded(5))
    shares = positions[2:, 0].double()
    assert abs(float(shares.mean()) - 0.5) < 0.026
    assert abs(float(shares.std()) - 1 / math.sqrt(12)) < 0.015
    torch.testing.assert_close(positions[2:].sum(dim=1), torch.ones(2000))


def test_children_are_reproducible_and_differ_between_seeds(experts: Tensor) -> None:
    assert grow_population(experts, 12, 2.0, seeded(6)).equal(grow_population(experts, 12, 2.0, seeded(6)))
    assert not grow_population(experts, 12, 2.0, seeded(6)).equal(grow_population(experts, 12, 2.0, seeded(7)))


def test_the_global_random_state_is_left_alone(experts: Tensor) -> None:
    before = torch.get_rng_state()
    grow_population(experts, 12, 2.0, seeded(6))
    first_velocities(experts, torch.zeros(4), "random", seeded(6))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_positions_are_float32_whatever_the_type_of_the_experts(experts: Tensor, dtype: torch.dtype) -> None:
    positions = grow_population(experts.to(dtype), 9, 2.0, seeded(8))
    assert positions.dtype == torch.float32
    assert positions[:4].equal(experts.to(dtype).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_children_are_as_exact_as_float32_whatever_the_type_of_the_experts(experts: Tensor, dtype: torch.dtype) -> None:
    # The same seed draws the same parents and shares, and float16 and bfloat16 fit into float32 without loss.
    stored = experts.to(dtype)
    children = grow_population(stored, 40, 2.0, seeded(9))
    torch.testing.assert_close(children, grow_population(stored.float(), 40, 2.0, seeded(9)), rtol=1e-6, atol=1e-6)


def test_fewer_particles_than_experts_is_refused_with_both_numbers(experts: Tensor) -> None:
    with pytest.raises(ValueError, match="3 particles and 4 experts"):
        grow_population(experts, 3, 2.0, seeded(0))


def test_a_single_expert_cannot_be_crossed(experts: Tensor) -> None:
    with pytest.raises(ValueError, match="at least 2 experts to cross, but got 1 for 5 particles"):
        grow_population(experts[:1], 5, 2.0, seeded(0))


def test_the_other_index_is_uniform_among_those_that_differ() -> None:
    # 900 draws of three others: 300 +- 14 each; four standard deviations are allowed.
    for index in range(4):
        generator = seeded(index)
        drawn = [other_than(index, 4, generator) for _ in range(900)]
        assert set(drawn) == set(range(4)) - {index}
        assert all(abs(drawn.count(other) - 300) < 57 for other in set(drawn))


def test_random_first_velocities_head_for_another_particle() -> None:
    # Velocities differ by particle and partner, so the partner can be read off: x_j - x_i = 10^j - 10^i.
    positions = torch.tensor([[1.0], [10.0], [100.0], [1000.0]])
    seen = [set[int](), set[int](), set[int](), set[int]()]
    for seed in range(60):
        velocities = first_velocities(positions, torch.zeros(4), "random", seeded(seed))
        targets = (positions + velocities).flatten().tolist()
        for index, target in enumerate(targets):
            seen[index].add(positions.flatten().tolist().index(target))
    assert seen == [{1, 2, 3}, {0, 2, 3}, {0, 1, 3}, {0, 1, 2}]


def test_zero_first_velocities_are_at_rest_and_draw_nothing() -> None:
    generator = seeded(0)
    before = generator.get_state()
    assert first_velocities(torch.rand(3, 2), torch.rand(3), "zero", generator).equal(torch.zeros(3, 2))
    assert generator.get_state().equal(before)


def test_best_first_velocities_lead_to_the_best_of_the_first_positions() -> None:
    # g = x_1 = (4, 6): v_0 = (4, 6) - (1, 2) = (3, 4), v_1 = 0, v_2 = (4, 6) - (0, 8) = (4, -2).
    positions = torch.tensor([[1.0, 2.0], [4.0, 6.0], [0.0, 8.0]])
    velocities = first_velocities(positions, torch.tensor([0.5, 0.75, 0.75]), "best", seeded(0))
    assert velocities.tolist() == [[3, 4], [0, 0], [4, -2]]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_best_first_velocities_never_lead_to_a_utility_that_is_not_finite(broken: float) -> None:
    positions = torch.tensor([[1.0], [2.0], [5.0]])
    velocities = first_velocities(positions, torch.tensor([broken, 0.25, -3.0]), "best", seeded(0))
    assert velocities.tolist() == [[1], [0], [-3]]


@pytest.mark.parametrize("mode", ["random", "zero", "best"])
def test_first_velocities_do_not_touch_the_positions(mode: str) -> None:
    positions = torch.rand(3, 2)
    before = positions.clone()
    velocities = first_velocities(positions, torch.rand(3), mode, seeded(0))  # type: ignore[arg-type]
    velocities.fill_(9)
    assert positions.equal(before)
    assert velocities.dtype == positions.dtype


def test_an_unknown_first_velocity_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'random', 'zero' or 'best', but got 'fast'"):
        first_velocities(torch.rand(3, 2), torch.rand(3), "fast", seeded(0))  # type: ignore[arg-type]


def test_a_lone_particle_has_no_other_to_head_for() -> None:
    with pytest.raises(ValueError, match="at least 2 particles for random first velocities, but got 1"):
        first_velocities(torch.rand(1, 2), torch.rand(1), "random", seeded(0))
    assert first_velocities(torch.rand(1, 2), torch.rand(1), "best", seeded(0)).tolist() == [[0, 0]]


def test_the_published_start_is_the_experts_and_draws_nothing(experts: Tensor) -> None:
    generator = seeded(2)
    assert Start().points(experts, generator) is experts
    assert generator.get_state().equal(seeded(2).get_state())


def test_a_start_adds_the_base_and_a_sparsified_copy_of_each_expert() -> None:
    experts = torch.full((3, 4000), 2.0)
    points = Start("base_and_sparsified", 0.25).points(experts, seeded(3))
    assert points.shape == (7, 4000)
    assert points[:3].equal(experts)
    assert not points[3].any()
    for copy in points[4:]:
        # Kept weights are divided by 0.25; 1000 of 4000 are expected, with standard deviation sqrt(750) = 27.4.
        assert set(copy.tolist()) == {0.0, 8.0}
        assert abs(int((copy > 0).sum()) - 1000) < 5 * 27.4
    assert not points[4].equal(points[5])


def test_sparsified_are_the_differences_from_the_base() -> None:
    base = torch.tensor([1.0, 5.0])
    points = Start("base_and_sparsified", 1.0).points(torch.tensor([[3.0, 4.0]]), seeded(4), base)
    assert points.tolist() == [[3.0, 4.0], [1.0, 5.0], [3.0, 4.0]]


def test_a_start_adds_the_base_alone(experts: Tensor) -> None:
    generator, base = seeded(2), torch.full_like(experts[0], 7.0)
    assert Start("experts_and_base").points(experts, generator, base).equal(torch.cat([experts, base[None]]))
    assert not Start("experts_and_base").points(experts, generator)[-1].any()
    assert generator.get_state().equal(seeded(2).get_state())


def test_a_start_adds_sums_of_what_the_experts_add_to_the_base() -> None:
    # The experts add (2, -1) and (4, 3) to the base (1, 5): on average (3, 1).
    experts, base = torch.tensor([[3.0, 4.0], [5.0, 8.0]]), torch.tensor([1.0, 5.0])
    points = Start("experts_and_sums").points(experts, seeded(4), base)
    assert points.tolist() == [[3.0, 4.0], [5.0, 8.0], [4.0, 6.0], [2.5, 5.5], [5.5, 6.5], [7.0, 7.0]]
    without = Start("experts_and_sums").points(experts, seeded(4))
    assert without[2:].tolist() == [[4.0, 6.0], [2.0, 3.0], [6.0, 9.0], [8.0, 12.0]]


@pytest.mark.parametrize("kind", get_args(StartKind))
def test_every_first_position_has_a_name(kind: StartKind) -> None:
    start, experts = Start(kind), torch.rand(3, 5)
    named = start.names("abc", 9)
    points = start.points(experts, seeded(1))
    assert len(named) == 9
    assert named[:3] == ["a", "b", "c"]
    assert named.count("a child of two experts") == 9 - len(points) - start.soup


@pytest.mark.parametrize(("kind", "density"), [("sparse", 0.5), ("experts", 0.0), ("base_and_sparsified", 1.5)])
def test_a_start_that_cannot_be_meant_is_refused(experts: Tensor, kind: Any, density: float) -> None:
    with pytest.raises(ValueError, match="Expected the start"):
        Start(kind, density).points(experts, seeded(0))
