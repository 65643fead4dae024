import math
import warnings

import pytest
import torch

from swarm_lightning.swarm import ParticleSwarm, StepLengthDecay


def begun_swarm(step_length: float) -> ParticleSwarm:
    swarm = ParticleSwarm([torch.zeros(2, 1)], lr=step_length, first_velocity="zero")
    swarm.begin(torch.zeros(2), torch.Generator())
    return swarm


def step_lengths(swarm: ParticleSwarm, scheduler: StepLengthDecay, iterations: int) -> list[float]:
    """The step length of every iteration, and the one after the last."""
    lengths = [swarm.param_groups[0]["lr"]]
    for _ in range(iterations):
        swarm.step(lambda: torch.zeros(2))
        scheduler.step()
        lengths.append(swarm.param_groups[0]["lr"])
    return lengths


def test_the_step_length_shrinks_by_the_factor_down_to_the_floor() -> None:
    # 1, 1/2, 1/4, 1/8, then 1/16 = 0.0625 lies below the floor.
    swarm = begun_swarm(1.0)
    scheduler = StepLengthDecay(swarm, factor=0.5, minimum=0.1)
    assert step_lengths(swarm, scheduler, 6) == [1, 0.5, 0.25, 0.125, 0.1, 0.1, 0.1]
    assert scheduler.get_last_lr() == [0.1]


def test_the_defaults_are_a_factor_of_0_95_and_a_floor_of_0_1() -> None:
    # 0.75 * 0.95^39 = 0.10146 is the last above the floor: log(0.1 / 0.75) / log(0.95) = 39.28.
    swarm = begun_swarm(0.75)
    lengths = step_lengths(swarm, StepLengthDecay(swarm), 42)
    assert lengths[:40] == pytest.approx([0.75 * 0.95**k for k in range(40)], rel=1e-12)
    assert lengths[39] == pytest.approx(0.10146, abs=1e-5)
    assert lengths[40:] == [0.1, 0.1, 0.1]


def test_a_factor_of_one_keeps_the_step_length() -> None:
    swarm = begun_swarm(0.7)
    assert step_lengths(swarm, StepLengthDecay(swarm, factor=1.0), 3) == [0.7] * 4


def test_a_floor_of_zero_never_holds_the_decay() -> None:
    swarm = begun_swarm(1.0)
    assert step_lengths(swarm, StepLengthDecay(swarm, factor=0.5, minimum=0.0), 10)[-1] == 2.0**-10


def test_a_first_step_below_the_floor_is_taken_once() -> None:
    # The method updates the step length after an iteration: max(0.05 * 0.95, 0.1) = 0.1.
    swarm = begun_swarm(0.05)
    assert step_lengths(swarm, StepLengthDecay(swarm), 2) == [0.05, 0.1, 0.1]


def test_the_move_travels_the_scheduled_step_length() -> None:
    # Inertia alone keeps v = g - x = 8, so x = 8 * (1 + 1/2 + 1/4 + 1/4) = 16 after four steps.
    positions = torch.tensor([[0.0], [8.0]])
    swarm = ParticleSwarm([positions], 1.0, 1.0, 0.0, 0.0, 0.0, randomness=False, first_velocity="best")
    swarm.begin(torch.tensor([0.0, 1.0]), torch.Generator())
    scheduler = StepLengthDecay(swarm, factor=0.5, minimum=0.25)
    for _ in range(4):
        swarm.step(lambda: torch.zeros(2))
        scheduler.step()
    assert positions.tolist() == [[16], [8]]


def test_the_schedule_resumes_from_its_saved_state() -> None:
    straight = begun_swarm(1.0)
    expected = step_lengths(straight, StepLengthDecay(straight, 0.9, 0.2), 20)

    swarm = begun_swarm(1.0)
    scheduler = StepLengthDecay(swarm, 0.9, 0.2)
    before = step_lengths(swarm, scheduler, 8)
    resumed = begun_swarm(1.0)
    resumed_scheduler = StepLengthDecay(resumed, 0.9, 0.2)
    resumed.load_state_dict(swarm.state_dict())
    resumed_scheduler.load_state_dict(scheduler.state_dict())
    assert before[:-1] + step_lengths(resumed, resumed_scheduler, 12) == expected


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.01, math.nan])
def test_a_factor_outside_zero_to_one_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match=rf"factor of the step length to be in \(0, 1\], but got {factor}"):
        StepLengthDecay(begun_swarm(1.0), factor=factor)


@pytest.mark.parametrize("minimum", [-0.1, math.nan])
def test_a_negative_floor_is_refused(minimum: float) -> None:
    with pytest.raises(ValueError, match=f"minimum of the step length to be >= 0, but got {minimum}"):
        StepLengthDecay(begun_swarm(1.0), minimum=minimum)


def test_the_usual_order_of_step_and_schedule_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        swarm = begun_swarm(1.0)
        step_lengths(swarm, StepLengthDecay(swarm), 3)
