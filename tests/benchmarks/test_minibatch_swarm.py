"""A swarm on mini-batches: what it remembers by hand, that it climbs under noise, and what it asks of a real search."""

from pathlib import Path

import pytest
import torch

from minibatch_swarm import MinibatchSwarm, Particles, learn, move
from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm.rules import Coefficients
from tests.search.tiny_search import NEW_TOKENS, fitted, make_world

EXPERTS = 4


def test_a_move_pulls_to_the_personal_and_to_the_global_best_and_adds_a_step() -> None:
    # Particle 1 has the highest mean over its batches: 6 / 3 against 5 / 4.
    positions, bests = torch.tensor([[0.0], [10.0]]), torch.tensor([[4.0], [8.0]])
    worth, weight = torch.tensor([5.0, 6.0]).double(), torch.tensor([4.0, 3.0]).double()
    particles = Particles(positions, torch.tensor([[1.0], [-1.0]]), bests, worth, weight)
    coefficients = Coefficients(inertia=0.5, cognitive=0.25, social=0.25, repel=0.0)
    drawn = torch.ones(2, 1, 4, dtype=torch.float64)
    moved = move(particles, coefficients, 0.5, drawn, torch.tensor([[0.1], [0.0]]))
    # 0.5 1 + 0.25 (4 - 0) + 0.25 (8 - 0) = 3.5; 0.5 (-1) + 0.25 (8 - 10) + 0.25 (8 - 10) = -1.5
    assert moved.velocities.flatten().tolist() == [3.5, -1.5]
    torch.testing.assert_close(moved.positions.flatten(), torch.tensor([1.85, 9.25]))


def test_it_climbs_where_every_batch_is_noisy() -> None:
    generator = torch.Generator().manual_seed(0)
    goal = torch.linspace(-1, 1, 10)
    positions = torch.randn(20, 10, generator=generator)
    nothing = torch.zeros(20, dtype=torch.float64)
    particles = Particles(positions, torch.zeros_like(positions), positions, nothing, nothing)
    coefficients = MinibatchSwarm().coefficients
    before = (positions.mean(dim=0) - goal).norm()
    for step in range(200):
        # What is hard for all is drawn anew for every batch, and moves all utilities by far more than they differ.
        hard = 100 * torch.randn(1, generator=generator).double()
        drawn = torch.rand(20, 10, 4, dtype=torch.float64, generator=generator)
        steps = 0.2 * (1 - step / 200) * torch.randn(20, 10, generator=generator)
        particles = move(particles, coefficients, 0.75, drawn, steps)
        now, bests = (
            hard - (held - goal).double().square().sum(dim=1) for held in (particles.positions, particles.bests)
        )
        particles = learn(particles, now, bests, memory=0.9)
    assert (particles.bests[particles.best] - goal).norm() < 0.1 * before


@pytest.fixture(scope="module")
def opened(tiny_base_folder: Path, tiny_experts_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSwarm:
    world = make_world(tiny_base_folder, tiny_experts_folder, tmp_path_factory.mktemp("minibatch"))
    module = ModelSwarm(
        str(world.base), experts=str(world.experts), objective=ExactMatch(max_new_tokens=NEW_TOKENS), particles=5
    )
    fitted(module, world, tmp_path_factory.mktemp("opened"), 0, 0)
    return module


def test_it_asks_what_its_budget_holds_and_reports_what_it_hands_over(opened: ModelSwarm) -> None:
    assert opened.splits is not None
    examples = opened.splits.validation
    row = MinibatchSwarm(particles=3, batch=4)
    around = (2 * EXPERTS - 1 + 3) * len(examples)  # the soup, and what is chosen among
    bench = Bench(opened, examples, seed=3, budget=around + 5 * 2 * 3 * 4 + 1)
    found = row.compose(bench)
    assert bench.spent == around + 5 * 2 * 3 * 4
    assert found.detail.startswith("5 iterations; ")
    assert found.scores is not None
    assert float(found.scores(examples).mean()) == found.utility
    same = row.compose(Bench(opened, examples, seed=3, budget=around + 5 * 2 * 3 * 4))
    assert found.adapter is not None
    assert same.adapter is not None
    assert all(tensor.equal(same.adapter.tensors[name]) for name, tensor in found.adapter.tensors.items())
    with pytest.raises(Absent, match="too small for the greedy soup and one iteration"):
        row.compose(Bench(opened, examples, budget=around + 2 * 3 * 4 - 1))
