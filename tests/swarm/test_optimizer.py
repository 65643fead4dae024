"""One step, what torch gives an optimizer, and resuming; whole searches are in `test_trajectories.py`."""

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LambdaLR, LRScheduler, StepLR

from swarm_lightning.swarm import ParticleSwarm, StepLengthDecay
from swarm_lightning.swarm.rules import stagnant
from swarm_lightning.swarm.search_optimizer import ON_DEVICE


def landscape_of(positions: Tensor) -> Tensor:
    """Utilities in steps of 1/50, so that some of them tie."""
    return (50 * torch.cos(positions.double()).sum(dim=1)).floor() / 50


def begun(seed: int = 0, **options: Any) -> tuple[Tensor, ParticleSwarm]:
    positions = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))
    swarm = ParticleSwarm([positions], **options)
    swarm.begin(landscape_of(positions), torch.Generator().manual_seed(seed))
    return positions, swarm


def advance(positions: Tensor, swarm: ParticleSwarm, iterations: int) -> None:
    for _ in range(iterations):
        swarm.restart(stagnant(swarm.swarm, 3))
        swarm.step(lambda: landscape_of(positions))


def memory_of(swarm: ParticleSwarm) -> dict[str, Tensor]:
    return dict(next(iter(swarm.state.values())))


def assert_same_swarm(one: ParticleSwarm, other: ParticleSwarm) -> None:
    assert one.positions.equal(other.positions)
    first, second = memory_of(one), memory_of(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype, name
        assert value.equal(second[name]), name


def test_begin_takes_the_first_utilities_and_leaves_the_positions_alone() -> None:
    positions = torch.tensor([[0.0], [1.0], [4.0]])
    swarm = ParticleSwarm([positions], first_velocity="best")
    assert not swarm.begun
    swarm.begin(torch.tensor([0.25, 0.75, 0.5]), torch.Generator())
    assert swarm.begun
    assert positions.tolist() == [[0], [1], [4]]
    assert swarm.swarm.velocities.tolist() == [[1], [0], [-3]]
    assert swarm.swarm.utilities.tolist() == [0.25, 0.75, 0.5]
    assert swarm.swarm.iterations.item() == 0


def test_a_step_moves_first_and_scores_the_new_positions_once() -> None:
    # No velocity, all four terms: particle 0 at its own best feels g alone, C = 0.2 + 0.3 + 0.4 without repel:
    # v = 0.4 * (4 - 0) / 0.9 = 16/9 and x = 8/9; particle 1 is g and stays.
    positions = torch.tensor([[0.0], [4.0]])
    swarm = ParticleSwarm([positions], 0.5, 0.2, 0.3, 0.4, 0.0, randomness=False, first_velocity="zero")
    swarm.begin(torch.tensor([0.0, 1.0]), torch.Generator())
    seen = []

    def score() -> Tensor:
        seen.append(positions.clone())
        return torch.tensor([0.5, 0.25])

    utilities = swarm.step(score)
    assert len(seen) == 1
    assert seen[0].equal(positions)
    torch.testing.assert_close(positions, torch.tensor([[8 / 9], [4.0]]))
    assert utilities.tolist() == [0.5, 0.25]
    assert swarm.swarm.personal_best_utilities.tolist() == [0.5, 1.0]


def test_the_returned_utilities_are_a_copy() -> None:
    positions, swarm = begun()
    utilities = swarm.step(lambda: landscape_of(positions))
    assert utilities.dtype == torch.float64
    before = swarm.swarm.utilities.clone()
    utilities.zero_()
    assert swarm.swarm.utilities.equal(before)


def test_the_swarm_is_a_view_of_the_optimizer_state() -> None:
    positions, swarm = begun()
    swarm.swarm.velocities.fill_(3)
    swarm.swarm.stagnation.fill_(7)
    assert memory_of(swarm)["velocities"].eq(3).all()
    assert memory_of(swarm)["stagnation"].eq(7).all()
    swarm.swarm.positions.fill_(5)
    assert positions.eq(5).all()


def test_the_same_seed_repeats_the_search_whatever_the_global_random_state_is() -> None:
    swarms = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        positions, swarm = begun(drop_iteration=0.2, drop_particle=0.2)
        advance(positions, swarm, 10)
        assert torch.get_rng_state().equal(before)
        swarms.append(swarm)
    assert_same_swarm(*swarms)


def test_another_seed_is_another_search() -> None:
    first = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    ends = []
    for seed in (1, 2):
        positions = first.clone()
        swarm = ParticleSwarm([positions], first_velocity="zero")
        swarm.begin(landscape_of(positions), torch.Generator().manual_seed(seed))
        advance(positions, swarm, 1)
        ends.append(positions)
    assert not ends[0].allclose(ends[1])


def test_dropping_does_not_change_the_numbers_that_move_the_particles() -> None:
    # One step from the same start: what is evaluated afterwards differs, where the particles go does not.
    positions, swarm = begun()
    dropped, dropping = begun(drop_iteration=0.5, drop_particle=0.5)
    advance(positions, swarm, 1)
    advance(dropped, dropping, 1)
    assert positions.equal(dropped)
    assert memory_of(swarm)["generator"].equal(memory_of(dropping)["generator"])


def test_only_the_particles_that_are_due_are_read() -> None:
    options: dict[str, Any] = {"drop_iteration": 0.2, "drop_particle": 0.4}
    positions, swarm = begun(**options)
    poisoned_positions, poisoned = begun(**options)
    dropped = 0
    for _ in range(15):
        before = swarm.swarm.utilities.clone()
        after = swarm.step(lambda: landscape_of(positions))
        assert after[~swarm.due].equal(before[~swarm.due])
        poisoned.step(lambda: torch.where(poisoned.due, landscape_of(poisoned_positions), math.nan))
        dropped += int((~swarm.due).sum())
    assert_same_swarm(swarm, poisoned)
    assert 20 < dropped < 70  # of 90, with probability 0.2 + 0.8 * 0.4 = 0.52: 47 +- 5 were the iterations independent


def test_particles_are_due_as_often_as_the_probabilities_say() -> None:
    # 600 iterations of 6 particles. Dropped iterations: 0.25 * 600 = 150 +- 11. In the other 450 the share of dropped
    # particles is 0.2 +- 0.0077. Four standard deviations are allowed.
    _, swarm = begun(drop_iteration=0.25, drop_particle=0.2)
    masks = []
    for _ in range(600):
        swarm.step(lambda: torch.zeros(6))
        masks.append(swarm.due)
    evaluated = torch.stack(masks)
    empty = ~evaluated.any(dim=1)
    assert abs(int(empty.sum()) - 150) < 44
    share = float((~evaluated[~empty]).double().mean())
    assert abs(share - 0.2) < 0.031


def test_a_closure_that_fails_on_some_particles_leaves_their_bests_alone() -> None:
    positions, swarm = begun()
    before = swarm.swarm.personal_bests.clone()
    swarm.step(lambda: torch.tensor([math.nan, math.inf, -math.inf, math.nan, math.nan, 1000.0]))
    assert swarm.swarm.personal_bests[:5].equal(before[:5])
    assert swarm.swarm.personal_bests[5].equal(positions[5])
    assert swarm.swarm.best_particle.item() == 5
    assert swarm.swarm.global_best_utility.item() == 1000


def test_the_global_best_is_always_some_personal_best() -> None:
    positions, swarm = begun(repel=0.1)
    for _ in range(25):
        advance(positions, swarm, 1)
        state = swarm.swarm
        assert state.global_best.equal(state.personal_bests[int(state.best_particle)])
        assert state.global_best_utility.item() == state.personal_best_utilities.max().item()


def test_without_repel_nothing_depends_on_how_low_a_utility_is() -> None:
    # Utilities below a particle's personal best are sunk by 100 in the second search; w would follow them.
    (positions, swarm), (sunk_positions, sunk) = begun(repel=0.0), begun(repel=0.0)

    def sinking() -> Tensor:
        utilities = landscape_of(sunk_positions)
        return torch.where(utilities > sunk.swarm.personal_best_utilities, utilities, utilities - 100)

    first_worst = swarm.swarm.global_worst_utility.item()
    for _ in range(15):
        for one, score in ((swarm, lambda: landscape_of(positions)), (sunk, sinking)):
            one.restart(stagnant(one.swarm, 3))
            one.step(score)
    assert sunk.swarm.utilities.min() < -90
    assert swarm.swarm.global_worst_utility.item() == first_worst
    sunk.swarm.utilities.copy_(swarm.swarm.utilities)
    assert_same_swarm(swarm, sunk)


def test_restart_reaches_the_rules() -> None:
    # The rule itself is tested beside it: back to the personal best, at rest, and the counters with the cool-down.
    positions, swarm = begun()
    start = positions.clone()
    swarm.step(lambda: torch.full((6,), -100.0))
    swarm.restart(torch.tensor([True, False, False, False, False, False]), cool_down=True)
    assert positions[0].equal(start[0])
    assert not positions[1].equal(start[1])
    assert swarm.swarm.velocities[0].eq(0).all()
    assert swarm.swarm.restarts.tolist() == [1, 0, 0, 0, 0, 0]
    assert swarm.swarm.stagnation.tolist() == [0, 2, 2, 2, 2, 2]


def test_a_single_particle_searches_too() -> None:
    # p = g = w = x: at rest it stays where it is, whatever is drawn.
    positions = torch.tensor([[1.0, 2.0]])
    swarm = ParticleSwarm([positions], first_velocity="zero")
    swarm.begin(torch.tensor([0.5]), torch.Generator())
    swarm.step(lambda: torch.tensor([0.5]))
    assert positions.tolist() == [[1, 2]]


def test_a_frozen_parameter_is_moved_in_place() -> None:
    module = nn.Module()
    module.positions = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), requires_grad=False)
    parameter = module.positions
    before, place = parameter.clone(), parameter.data_ptr()
    swarm = ParticleSwarm(module.parameters(), first_velocity="best")
    swarm.begin(parameter.sum(dim=1), torch.Generator())
    swarm.step(lambda: parameter.sum(dim=1))
    assert module.positions is parameter
    assert parameter.data_ptr() == place
    assert not parameter.equal(before)
    assert parameter.grad is None
    assert not parameter.requires_grad
    assert set(swarm.state) == {parameter}


def test_a_step_records_no_gradients() -> None:
    positions = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    swarm = ParticleSwarm([positions], first_velocity="best")
    swarm.begin(positions.sum(dim=1), torch.Generator())
    utilities = swarm.step(lambda: positions.sum(dim=1))
    assert not utilities.requires_grad
    assert not any(value.requires_grad for value in memory_of(swarm).values())
    assert positions.is_leaf


def test_positions_and_everything_like_them_stay_float32() -> None:
    positions, swarm = begun()
    advance(positions, swarm, 3)
    memory = memory_of(swarm)
    assert positions.dtype == torch.float32
    assert {name for name, value in memory.items() if value.dtype == torch.float32} == ON_DEVICE


SCHEDULES: dict[str, tuple[Callable[[ParticleSwarm], LRScheduler], float]] = {
    "exponential": (lambda swarm: ExponentialLR(swarm, gamma=0.5), 1 + 1 / 2 + 1 / 4 + 1 / 8),
    "steps": (lambda swarm: StepLR(swarm, step_size=2, gamma=0.5), 1 + 1 + 1 / 2 + 1 / 2),
    "any function": (lambda swarm: LambdaLR(swarm, lambda done: 1 / (1 + done)), 1 + 1 / 2 + 1 / 3 + 1 / 4),
    # (1 + cos(pi k / 4)) / 2: the cosines of pi/4 and 3 pi/4 cancel, those of 0 and pi/2 are 1 and 0.
    "cosine": (lambda swarm: CosineAnnealingLR(swarm, T_max=4), (4 + 1) / 2),
    "ours": (lambda swarm: StepLengthDecay(swarm, factor=0.5, minimum=0.2), 1 + 1 / 2 + 1 / 4 + 1 / 5),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_schedule_of_torch_drives_the_step_length(name: str) -> None:
    # Inertia alone keeps v = g - x = 1, so the particle travels the sum of the step lengths.
    attach, travelled = SCHEDULES[name]
    positions = torch.tensor([[0.0], [1.0]])
    swarm = ParticleSwarm([positions], 1.0, 1.0, 0.0, 0.0, 0.0, randomness=False, first_velocity="best")
    swarm.begin(torch.tensor([0.0, 1.0]), torch.Generator())
    schedule = attach(swarm)
    for _ in range(4):
        swarm.step(lambda: torch.zeros(2))
        schedule.step()
    assert positions[0].item() == pytest.approx(travelled, rel=1e-6)
    assert positions[1].item() == 1


NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
OPTIONS: dict[str, Any] = {"repel": 0.1, "drop_iteration": 0.1, "drop_particle": 0.2}


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("carry", [copy.deepcopy, through_a_file], ids=["in memory", "through a file"])
@pytest.mark.parametrize("frozen", [False, True], ids=["tensor", "parameter"])
def test_a_resumed_search_continues_bit_for_bit(carry: Callable[[Any], Any], frozen: bool) -> None:
    straight_positions, straight = begun(**OPTIONS)
    straight_schedule = StepLengthDecay(straight)
    for _ in range(9):
        advance(straight_positions, straight, 1)
        straight_schedule.step()

    positions, swarm = begun(**OPTIONS)
    schedule = StepLengthDecay(swarm)
    for _ in range(4):
        advance(positions, swarm, 1)
        schedule.step()
    saved = carry({"positions": positions, "swarm": swarm.state_dict(), "schedule": schedule.state_dict()})
    advance(positions, swarm, 2)  # what goes on after saving must not reach into what was saved

    resumed_positions = nn.Parameter(saved["positions"], requires_grad=False) if frozen else saved["positions"]
    resumed = ParticleSwarm([resumed_positions])
    resumed_schedule = StepLengthDecay(resumed)
    assert not resumed.begun
    resumed.load_state_dict(saved["swarm"])
    resumed_schedule.load_state_dict(saved["schedule"])
    assert resumed.begun
    for _ in range(5):
        advance(resumed_positions, resumed, 1)
        resumed_schedule.step()
    assert_same_swarm(resumed, straight)
    assert resumed.param_groups[0]["lr"] == straight.param_groups[0]["lr"]


def test_loading_keeps_every_value_and_type() -> None:
    positions, swarm = begun(**OPTIONS)
    advance(positions, swarm, 4)
    saved = copy.deepcopy(swarm.state_dict())
    resumed = ParticleSwarm([positions.clone()])
    resumed.load_state_dict(saved)
    assert_same_swarm(resumed, swarm)
    # Not float32 on the way: 1/3 has more digits, and a generator's state is bytes.
    assert memory_of(resumed)["utilities"].dtype == torch.float64
    assert memory_of(resumed)["stagnation"].dtype == torch.int64
    assert memory_of(resumed)["generator"].dtype == torch.uint8


def test_a_utility_with_more_digits_than_float32_survives_a_resume() -> None:
    positions = torch.zeros(2, 1)
    swarm = ParticleSwarm([positions], first_velocity="zero")
    swarm.begin(torch.tensor([1 / 3, 0.1], dtype=torch.float64), torch.Generator())
    resumed = ParticleSwarm([positions])
    resumed.load_state_dict(through_a_file(swarm.state_dict()))
    assert resumed.swarm.utilities.tolist() == [1 / 3, 0.1]


def test_loading_brings_the_settings_along() -> None:
    _, swarm = begun(inertia=0.11, cognitive=0.22, social=0.33, repel=0.01, lr=0.5, randomness=False)
    resumed = ParticleSwarm([torch.zeros(6, 3)])
    resumed.load_state_dict(through_a_file(swarm.state_dict()))
    settings = {name: value for name, value in resumed.param_groups[0].items() if name != "params"}
    assert settings == {name: value for name, value in swarm.param_groups[0].items() if name != "params"}


def test_the_saved_state_holds_tensors_only() -> None:
    positions, swarm = begun()
    advance(positions, swarm, 2)
    (memory,) = swarm.state_dict()["state"].values()
    assert all(type(value) is Tensor for value in memory.values())


def test_the_swarm_lists_exactly_what_is_saved() -> None:
    _, swarm = begun()
    assert set(memory_of(swarm)) == set(vars(swarm.swarm)) - {"positions"} | {"generator"}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_GPU])])
def test_a_search_on_any_device_is_the_search_on_the_cpu_and_resumes_there(device: str) -> None:
    positions, swarm = begun(**OPTIONS)
    elsewhere = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).to(device)
    other = ParticleSwarm([elsewhere], **OPTIONS)
    other.begin(landscape_of(elsewhere), torch.Generator().manual_seed(0))
    advance(positions, swarm, 4)
    advance(elsewhere, other, 4)

    saved = through_a_file(other.state_dict())
    other = ParticleSwarm([elsewhere])
    other.load_state_dict(saved)
    memory = next(iter(other.state.values()))
    for name in memory:  # whoever resumes an optimizer moves its whole state to the device of the model
        memory[name] = memory[name].to(device)
    advance(positions, swarm, 4)
    advance(elsewhere, other, 4)

    torch.testing.assert_close(elsewhere.cpu(), positions, rtol=0, atol=1e-5)
    assert other.swarm.utilities.equal(swarm.swarm.utilities)
    where = {name: value.device.type for name, value in memory_of(other).items()}
    assert where == {name: device if name in ON_DEVICE else "cpu" for name in where}


def test_loading_a_search_that_had_not_begun_leaves_it_to_begin() -> None:
    resumed = ParticleSwarm([torch.zeros(3, 2)])
    resumed.load_state_dict(ParticleSwarm([torch.zeros(3, 2)]).state_dict())
    assert not resumed.begun
