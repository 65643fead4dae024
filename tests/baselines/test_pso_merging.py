"""PSO-Merging against the same swarm in NumPy, which moves the weights themselves and not combinations of them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.pso_merging import PSOMerging
from swarm_lightning.search import ModelSwarm
from swarm_lightning.vectors import Vectors
from tests.baselines.test_methods import examples_of

EXAMPLES, PARTICLES, SEED = 8, 9, 5


class Recording(Bench):
    """A bench that remembers what was asked, and what it was worth."""

    asked: list[Tensor]
    worths: list[float]

    def utilities(self, vectors: Vectors) -> Tensor:
        found = super().utilities(vectors)
        self.asked += [vector[:].clone() for vector in vectors]
        self.worths += found.tolist()
        return found


@pytest.fixture(scope="module")
def recorded(opened: ModelSwarm) -> Recording:
    bench = Recording(opened, examples_of(opened), seed=SEED, budget=4 * PARTICLES * EXAMPLES)
    bench.asked, bench.worths = [], []
    PSOMerging().compose(bench)
    return bench


def test_it_begins_with_the_experts_the_base_and_experts_with_a_fifth_of_their_weights_times_five(
    recorded: Recording,
) -> None:
    first = torch.stack(recorded.asked[:PARTICLES])
    experts = recorded.experts
    assert first[:4].equal(experts)
    assert not first[4].any()  # an adapter that adds nothing
    sparse = first[5:]
    kept = sparse != 0
    torch.testing.assert_close(sparse[kept], 5 * experts[kept])
    assert float(kept.sum() / (experts != 0).sum()) == pytest.approx(0.2, abs=0.02)


def test_every_step_is_that_of_a_classical_swarm(recorded: Recording) -> None:
    asked = np.stack([vector.double().numpy() for vector in recorded.asked]).reshape(4, PARTICLES, -1)
    utility = np.array(recorded.worths).reshape(4, PARTICLES)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(4):  # what is kept of the four experts is drawn first
        torch.rand(asked.shape[2], generator=generator)
    place, speed = asked[0], np.zeros_like(asked[0])
    own, worth = asked[0].copy(), utility[0].copy()
    for step in range(1, 4):
        one, other = torch.rand(PARTICLES, 2, dtype=torch.float64, generator=generator).numpy().T[:, :, None]
        speed = 0.2 * speed + 2 * one * (own - place) + 2 * other * (own[worth.argmax()] - place)
        place = place + speed
        np.testing.assert_allclose(asked[step], place, atol=1e-5)
        for particle in range(PARTICLES):
            if utility[step, particle] > worth[particle]:
                own[particle], worth[particle] = place[particle], utility[step, particle]
