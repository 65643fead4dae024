"""What the particle swarm refuses, and what it says then."""

import math
from typing import Any

import pytest
import torch

from swarm_lightning.swarm import ParticleSwarm


@pytest.mark.parametrize(
    ("params", "shapes"),
    [
        ([torch.zeros(3)], r"\(3,\)"),
        ([torch.zeros(2, 3, 4)], r"\(2, 3, 4\)"),
        ([torch.zeros(2, 3), torch.zeros(2, 3)], r"\(2, 3\), \(2, 3\)"),
        ([], r"\[\]"),
        ([{"params": [torch.zeros(2, 3)]}], r"\(\)"),
    ],
)
def test_anything_but_one_matrix_of_positions_is_refused_with_the_shapes(params: Any, shapes: str) -> None:
    with pytest.raises(ValueError, match=rf"one tensor of positions \[N, D\] with N >= 1, but got shapes .*{shapes}"):
        ParticleSwarm(params)


def test_no_particles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"positions \[N, D\]"):
        ParticleSwarm([torch.zeros(0, 3)])


def test_a_bare_tensor_is_taken_as_the_positions() -> None:
    positions = torch.zeros(2, 3)
    assert ParticleSwarm(positions).positions.data_ptr() == positions.data_ptr()


@pytest.mark.parametrize("step_length", [0.0, -0.5, math.nan])
def test_a_step_length_that_is_not_positive_is_refused(step_length: float) -> None:
    with pytest.raises(ValueError, match=f"step length lr to be above 0 and finite, but got {step_length}"):
        ParticleSwarm([torch.zeros(2, 3)], lr=step_length)


@pytest.mark.parametrize("name", ["inertia", "cognitive", "social", "repel"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_an_impossible_coefficient_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}"):
        ParticleSwarm([torch.zeros(2, 3)], **{name: value})  # type: ignore[arg-type]


def test_coefficients_that_move_no_particle_are_refused() -> None:
    with pytest.raises(ValueError, match="no particle would move"):
        ParticleSwarm([torch.zeros(2, 3)], inertia=0, cognitive=0, social=0, repel=0)


@pytest.mark.parametrize("name", ["drop_iteration", "drop_particle"])
@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, math.nan])
def test_an_impossible_probability_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} to be a probability in \[0, 1\), but got {value}"):
        ParticleSwarm([torch.zeros(2, 3)], **{name: value})  # type: ignore[arg-type]


def test_an_unknown_first_velocity_is_refused_before_the_search() -> None:
    with pytest.raises(ValueError, match="'random', 'zero' or 'best', but got 'fast'"):
        ParticleSwarm([torch.zeros(2, 3)], first_velocity="fast")  # type: ignore[arg-type]


def test_an_unknown_kernel_is_refused_before_the_search() -> None:
    with pytest.raises(ValueError, match="'auto', 'compiled' or 'plain', but got 'fast'"):
        ParticleSwarm([torch.zeros(2, 3)], kernel="fast")  # type: ignore[arg-type]


def test_a_swarm_that_has_not_begun_says_so() -> None:
    swarm = ParticleSwarm([torch.zeros(2, 3)])
    with pytest.raises(RuntimeError, match="`begin`"):
        _ = swarm.swarm
    with pytest.raises(RuntimeError, match="`begin`"):
        swarm.step(lambda: torch.zeros(2))
    with pytest.raises(RuntimeError, match="`begin`"):
        swarm.restart(torch.tensor([True, False]))
    assert not swarm.begun


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1), ()])
def test_utilities_of_another_shape_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    swarm = ParticleSwarm([torch.zeros(2, 3)])
    with pytest.raises(ValueError, match="2 utilities, one per particle, but got") as refusal:
        swarm.begin(torch.zeros(shape), torch.Generator())
    assert str(shape) in str(refusal.value)
    assert not swarm.begun

    swarm.begin(torch.zeros(2), torch.Generator())
    with pytest.raises(ValueError, match="2 utilities, one per particle, but got") as refusal:
        swarm.step(lambda: torch.zeros(shape))
    assert str(shape) in str(refusal.value)


def test_first_utilities_without_a_finite_one_are_refused() -> None:
    swarm = ParticleSwarm([torch.zeros(2, 3)])
    with pytest.raises(ValueError, match="finite utility of at least one particle"):
        swarm.begin(torch.tensor([math.nan, -math.inf]), torch.Generator())
    assert not swarm.begun


def test_a_lone_particle_cannot_begin_with_a_random_velocity() -> None:
    with pytest.raises(ValueError, match="at least 2 particles"):
        ParticleSwarm([torch.zeros(1, 3)]).begin(torch.zeros(1), torch.Generator())
