"""A particle swarm that learns from mini-batches, as a method of `search_study.py`: a particle swarm by other means.

What limits it is arithmetic: an iteration asks 2 N positions `batch` examples each. The published swarm asks every
position everything, so that its budget holds some ten iterations; here there are over a hundred. Positions and personal
bests are asked the same few examples, so that what makes these hard for all cancels, and a personal best is given up
for a position that does better on them. How good a personal best is, is a mean over its batches that forgets; the
global best is the highest. Particles begin around the greedy soup of the products, one coefficient per expert and
module, and a small random step, which fades out, comes to the published move: without it the swarm contracts. In the
end the objective chooses among the global best, the mean of the personal bests over the last third, and the soup.

Its settings were chosen on neighbours and atlas of the demo world.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.swarm.evolution import next_batch
from swarm_lightning.swarm.rules import Coefficients


class Particles(NamedTuple):
    """What N particles remember in a space of D coefficients.

    Attributes:
        positions: Where each is [N, D].
        velocities: Where each is heading [N, D].
        bests: Its personal best [N, D].
        worth: How much better than the mean of all these have been on their batches, a sum that forgets [N] float64.
        weight: Of how many batches that is the sum [N] float64.
    """

    positions: Tensor
    velocities: Tensor
    bests: Tensor
    worth: Tensor
    weight: Tensor

    @property
    def best(self) -> int:
        """The particle with the highest personal best; the first before anything was asked."""
        return int((self.worth / self.weight.clamp(min=1e-9)).argmax())


def move(
    particles: Particles, coefficients: Coefficients, step_length: float, drawn: Tensor, steps: Tensor
) -> Particles:
    """Move by the published rule, with random numbers of its own for each coefficient, and a random step.

    Args:
        particles: What is remembered.
        coefficients: Of the four terms; that of the global worst is 0, as nobody knows it.
        step_length: Fraction of the velocity that is travelled.
        drawn: Uniform numbers [N, D, 4].
        steps: What is added to the positions [N, D].
    """
    positions, best = particles.positions, particles.bests[particles.best]
    inertia, cognitive, social, _ = coefficients.weigh(drawn).float().unbind(dim=-1)
    pulls = cognitive * (particles.bests - positions) + social * (best - positions)
    velocities = inertia * particles.velocities + pulls
    return particles._replace(positions=positions + step_length * velocities + steps, velocities=velocities)


def learn(particles: Particles, now: Tensor, bests: Tensor, memory: float) -> Particles:
    """Give personal bests up for positions that do better on a batch, and remember how good those that stay are.

    Args:
        particles: What is remembered.
        now: Utilities of the positions on the batch [N] float64.
        bests: Those of the personal bests on the same [N] float64.
        memory: Share of what is known of a personal best that stays, in [0, 1).

    >>> two = torch.tensor([[1.0], [2.0]])
    >>> particles = Particles(two, two, -two, torch.tensor([4.0, 0.0]).double(), torch.tensor([2.0, 2.0]).double())
    >>> after = learn(particles, torch.tensor([0.0, 3.0]), torch.tensor([1.0, 1.0]), memory=0.5)
    >>> after.bests.flatten().tolist(), after.worth.tolist(), after.weight.tolist()
    ([-1.0, 2.0], [2.0, 2.0], [2.0, 1.0])
    """
    better, mean = now > bests, bests.mean()
    worth, weight = memory * particles.worth + bests - mean, memory * particles.weight + 1
    return particles._replace(
        bests=torch.where(better[:, None], particles.positions, particles.bests),
        worth=torch.where(better, now - mean, worth),
        weight=torch.where(better, torch.ones_like(weight), weight),
    )


@dataclass
class MinibatchSwarm:
    """The swarm as a method of a comparison.

    Attributes:
        particles: Number of particles N.
        batch: Examples that an iteration asks.
        deviation: Standard deviation of the first positions around the soup, and of the first random step.
        memory: See `learn`.
        step_length: Of the first move; the last has a fifth of it.
        coefficients: Of the move.
    """

    title: str = "swarm on mini-batches"
    particles: int = 20
    batch: int = 8
    deviation: float = 0.06
    memory: float = 0.9
    step_length: float = 0.75
    coefficients: Coefficients = Coefficients(inertia=0.2, cognitive=0.3, social=0.4, repel=0.0)
    kind: Kind = "search"
    least: int = 2

    def compose(self, bench: Bench) -> Composition:
        """Search until the budget holds no whole iteration any more.

        Raises:
            Absent: If it holds none, or the objective has no smooth guide.
        """
        assert bench.budget is not None
        products = ProductBench(bench, "greedy soup", "module", guided=True)
        experts, examples, generator = len(bench.names), len(bench.examples), bench.generator
        batch = min(self.batch, examples)
        asked = 2 * self.particles * batch
        iterations = (bench.budget - (2 * experts - 1 + 3) * examples) // asked  # the soup before, the choice behind
        if iterations < 1:
            raise Absent("the budget is too small for the greedy soup and one iteration")
        soup = products.groups.spread(products.soup().weights[None])[0]
        noise = self.deviation * torch.randn(self.particles, len(soup), generator=generator)
        positions = soup + noise
        positions[0] = soup
        velocities = positions[torch.randperm(self.particles, generator=generator)] - positions
        nothing = torch.zeros(self.particles, dtype=torch.float64)
        swarm = Particles(positions, velocities, positions, nothing, nothing)
        order, taken = torch.arange(examples), examples  # all of it, so that the first batch shuffles it
        total, counted = torch.zeros(len(soup), dtype=torch.float64), 0
        for iteration in range(iterations):
            places, order, taken = next_batch(order, taken, batch, generator)
            wanted = torch.zeros(2 * self.particles, examples, dtype=torch.bool)
            wanted[:, places] = True
            left = 1 - iteration / iterations
            drawn = torch.rand(*positions.shape, 4, dtype=torch.float64, generator=generator)
            steps = self.deviation * left * torch.randn(positions.shape, generator=generator)
            swarm = move(swarm, self.coefficients, self.step_length * (0.2 + 0.8 * left), drawn, steps)
            utilities = products.utilities(torch.cat([swarm.positions, swarm.bests]), wanted)
            swarm = learn(swarm, utilities[: self.particles], utilities[self.particles :], self.memory)
            if iteration >= iterations * 2 // 3:
                total, counted = total + swarm.bests.double().mean(dim=0), counted + 1
        best, mean = swarm.bests[swarm.best], (total / counted).float()
        candidates = {"the soup": soup, "the global best": best, "the mean of the personal bests": mean}
        chosen, utility = products.choose(candidates)
        return products.composition(candidates[chosen], utility, f"{iterations} iterations; {chosen}")
