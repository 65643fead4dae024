"""The fused kernel against the plain rules, and what happens where it can't be compiled."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swarm_lightning.swarm import ParticleSwarm, fused_move
from swarm_lightning.swarm.fused_move import move_fused, worth_compiling
from swarm_lightning.swarm.rules import Coefficients, move, restart
from swarm_lightning.swarm.state import Swarm, first_state

NEEDS_COMPILER = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler (the variable CXX, or g++)"
)


def swarm_of(particles: int, dimensions: int, seed: int = 0, device: str = "cpu") -> Swarm:
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    swarm = first_state(numbers(particles, dimensions), numbers(particles, dimensions), torch.zeros(particles))
    swarm.personal_bests.copy_(numbers(particles, dimensions))
    swarm.global_best.copy_(numbers(dimensions))
    swarm.global_worst.copy_(numbers(dimensions))
    return swarm


def assert_moved_alike(particles: int, dimensions: int, device: str = "cpu") -> None:
    """Move a swarm by both kernels for several steps, each with another step length and other coefficients."""
    fused, plain = swarm_of(particles, dimensions, 0, device), swarm_of(particles, dimensions, 0, device)
    generator = torch.Generator().manual_seed(1)
    for step in range(5):
        draws = torch.rand(particles, 4, dtype=torch.float64, generator=generator)
        coefficients = Coefficients(0.1 * step, 0.3, 0.4, 0.05 * (step % 2))
        for swarm in (fused, plain):
            restart(swarm, torch.arange(particles) == step)
        move_fused(fused, draws, coefficients, 1.0 - 0.1 * step)
        move(plain, draws, coefficients, 1.0 - 0.1 * step)
        torch.testing.assert_close(fused.velocities, plain.velocities, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fused.positions, plain.positions, rtol=1e-5, atol=1e-5)
    for name, tensor in fused.memory().items():
        if name != "velocities":
            assert tensor.equal(plain.memory()[name]), name


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_move, "BLOCK", 16)


@NEEDS_COMPILER
@pytest.mark.slow
def test_the_fused_move_is_the_plain_one_to_rounding_and_is_compiled_once() -> None:
    # Blocks of 16: many with a rest, many that fit, and less than two with a rest, which are moved plain.
    assert_moved_alike(3, 129)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for particles, dimensions in ((3, 130), (4, 1000), (5, 7), (2, 64), (6, 47), (3, 31)):
            assert_moved_alike(particles, dimensions)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dimensions", [7, 16, 129, 1000])
def test_the_fused_move_is_the_plain_one_on_a_gpu(dimensions: int) -> None:
    assert_moved_alike(3, dimensions, "cuda")


@NEEDS_COMPILER
def test_a_particle_at_rest_where_everything_is_stays_there() -> None:
    swarm = first_state(torch.full((2, 50), 0.1), torch.zeros(2, 50), torch.zeros(2))
    move_fused(swarm, torch.ones(2, 4), Coefficients(0.2, 0.3, 0.4, 0.05), 0.7)
    assert swarm.velocities.eq(0).all()
    assert swarm.positions.eq(0.1).all()


@NEEDS_COMPILER
def test_the_fused_move_without_repel_does_not_read_the_worst() -> None:
    swarm = swarm_of(2, 50)
    swarm.global_worst.fill_(torch.nan)
    move_fused(swarm, torch.ones(2, 4), Coefficients(0.2, 0.3, 0.4, 0.0), 0.7)
    assert swarm.positions.isfinite().all()


@NEEDS_COMPILER
def test_a_compiled_search_resumes_bit_for_bit_with_its_own_kernel() -> None:
    straight = advanced(ParticleSwarm([start()], kernel="compiled"), 6)
    swarm = advanced(ParticleSwarm([start()], kernel="compiled"), 2)
    resumed = ParticleSwarm([swarm.positions.clone()])
    resumed.load_state_dict(swarm.state_dict())
    assert resumed.param_groups[0]["kernel"] == "compiled"
    assert advanced(resumed, 4).positions.equal(straight.positions)


def start() -> Tensor:
    return torch.randn(4, 50, generator=torch.Generator().manual_seed(0))


def advanced(swarm: ParticleSwarm, iterations: int) -> ParticleSwarm:
    def score() -> Tensor:
        return -swarm.positions.square().sum(dim=1)

    if not swarm.begun:
        swarm.begin(score(), torch.Generator().manual_seed(1))
    for _ in range(iterations):
        swarm.step(score)
    return swarm


def test_a_small_search_is_not_compiled_and_the_choice_is_saved() -> None:
    swarm = ParticleSwarm([start()])
    assert swarm.param_groups[0]["kernel"] == "auto"
    advanced(swarm, 1)
    assert swarm.param_groups[0]["kernel"] == "plain"
    assert swarm.state_dict()["param_groups"][0]["kernel"] == "plain"
    assert swarm.defaults["kernel"] == "auto"


def test_compiling_is_worth_its_time_from_2_to_the_28_numbers_on() -> None:
    # Expanded tensors need no memory of their own.
    assert not worth_compiling(torch.zeros(1, 1).expand(16, 2**24 - 1))
    assert worth_compiling(torch.zeros(1, 1).expand(16, 2**24))


@pytest.mark.slow
def test_a_search_that_can_not_be_compiled_says_why_and_an_automatic_one_goes_on_plain(tmp_path: Path) -> None:
    # A process of its own: it looks for a compiler that is not there, and has compiled nothing before.
    program = """
        import torch, warnings
        from swarm_lightning.swarm import ParticleSwarm, fused_move
        from swarm_lightning.swarm.fused_move import KernelError

        def begun(kernel):
            positions = torch.arange(16.0).view(4, 4)
            swarm = ParticleSwarm([positions], kernel=kernel, randomness=False, first_velocity="zero")
            swarm.begin(torch.arange(4), torch.Generator())
            return positions, swarm

        fused_move.WORTH_COMPILING, fused_move.BLOCK = 0, 1
        positions, swarm = begun("compiled")
        try:
            swarm.step(lambda: torch.zeros(4))
        except KernelError as error:
            assert "/nowhere/g++" in str(error) and "kernel to 'plain'" in str(error), error
        else:
            raise AssertionError("Expected a KernelError.")
        assert positions.flatten().tolist() == list(range(16)), "something has moved"

        plain_positions, plain = begun("plain")
        positions, swarm = begun("auto")
        assert swarm.param_groups[0]["kernel"] == "compiled"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for one in (plain, swarm, plain, swarm):
                one.step(lambda: torch.zeros(4))
        texts = [str(warning.message) for warning in caught if "plain kernel" in str(warning.message)]
        assert len(texts) == 1 and "/nowhere/g++" in texts[0], texts
        assert swarm.param_groups[0]["kernel"] == "plain"
        assert positions.equal(plain_positions)
    """
    environment = {**os.environ, "CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
