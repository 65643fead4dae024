"""PSO-Merging: a classical particle swarm of 2 n + 1 models, the base, the experts and a sparsified copy of each.

    sparsified: base + m (x - base) / 0.2,  m = 1 with probability 0.2 for each weight, else 0 (DARE, 80% dropped)
    v = 0.2 v + 2 r1 (p - x) + 2 r2 (g - x),  x = x + v

p is the best that a particle has been, g the best of all, which comes out in the end. From the abstract: what the
swarm begins with, and what comes out. From what the reviews of its submission to ICLR 2026 quote: the number of
particles, DARE with p = 0.8, c1 = c2 = 2, w = 0.2, and the mean score as fitness. Our reading: r1 and r2 ~ U(0, 1) are
one number per particle and step, particles begin at rest, and there are as many steps as the budget holds (published: 5
for models of 7 to 13 billion weights, 50 for Flan-T5). On A and B as they stand, or all weights of full checkpoints;
without a base, which is a particle, the row is absent. As velocities lie between particles, every position is an affine
combination of the first ones, and kept as that. Source: Zhang et al., arXiv:2508.19839; Yu et al., arXiv:2311.03099,
for DARE. Model Swarms (`swarm/rules.py`) weighs its terms otherwise and flees from the worst as well.
"""

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.rules import best_of

INERTIA, PULL = 0.2, 2.0
DENSITY = 0.2


def move(positions: Tensor, velocities: Tensor, bests: Tensor, best: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return where particles go, and how fast.

    Args:
        positions: [P, D].
        velocities: [P, D].
        bests: The best positions that they have been at [P, D].
        best: The best position of all [D].
        draws: Numbers in [0, 1), [P, 2]: for the pull of the own best and for that of the best of all.

    Returns:
        Positions and velocities [P, D].

    >>> one = torch.tensor([[1.0]])
    >>> position, velocity = move(one, torch.tensor([[5.0]]), one + 1, torch.tensor([4.0]), torch.tensor([[0.5, 0.25]]))
    >>> velocity.item(), position.item()  # 0.2 * 5 + 2 * 0.5 * 1 + 2 * 0.25 * 3
    (3.5, 4.5)
    """
    own, others = (PULL * draws).split(1, dim=1)
    velocities = INERTIA * velocities + own * (bests - positions) + others * (best - positions)
    return positions + velocities, velocities


class PSOMerging:
    """Moves base, experts and sparsified experts, and keeps the best that it has asked."""

    title = "PSO-Merging"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Move the swarm until the budget is spent.

        Raises:
            Absent: If the experts are full checkpoints without a base, the budget is too small for the first positions,
                or none of these gives numbers.
        """
        points = Start("base_and_sparsified", DENSITY).points(bench.experts, bench.generator, bench.origin())
        size = len(points)
        if bench.affordable < size:
            raise Absent(
                f"the budget of {bench.budget} evaluations is too small for the {size} first positions with "
                f"{len(bench.examples)} examples each"
            )
        positions = torch.eye(size, dtype=torch.float64)  # how much of each point stands in them
        velocities = torch.zeros_like(positions)
        asked = bench.combinations(positions, of=points)
        bests, utilities = positions.clone(), bench.utilities(asked)
        if not utilities.isfinite().any():
            raise Absent("every one of its first positions breaks the model")
        first = best_of(utilities)
        found, champion = float(utilities[first]), asked[first][:].clone()
        steps = 0
        while count := min(bench.affordable, size):
            draws = torch.rand(size, 2, dtype=torch.float64, generator=bench.generator)
            positions, velocities = move(positions, velocities, bests, bests[best_of(utilities)], draws)
            asked = bench.combinations(positions[:count], of=points)
            reached = bench.utilities(asked)
            steps += 1
            place = best_of(reached)
            if float(reached[place]) > found:
                found, champion = float(reached[place]), asked[place][:].clone()
            risen = (reached > utilities[:count]).nonzero().flatten()
            bests[risen], utilities[risen] = positions[risen], reached[risen]
        return Composition(found, f"{steps} steps of {size} particles", champion)
