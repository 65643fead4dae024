"""What a swarm remembers between two iterations.

The alphabet of all shapes in this package: N particles, D weights of one particle, M examples, K iterations,
P particles in one forward pass, T tokens. Utilities are float64, so that a mean of scores is compared as it was
computed; positions are float32 whatever the experts' dtype.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Swarm:
    """Views of the tensors that the rules read and update in place.

    Attributes:
        positions: Where every particle is, x [N, D] float32.
        velocities: Where every particle is heading, v [N, D] float32.
        personal_bests: The best position of every particle so far, p [N, D] float32.
        global_best: The best position of the whole swarm so far, g [D] float32.
        global_worst: The worst position that any particle ever held, w [D] float32.
        utilities: The utility of every particle when it was last evaluated [N] float64; NaN where it was left open,
            -inf where it was broken.
        initial_utilities: The utilities before the first iteration [N] float64.
        personal_best_utilities: The utility of `personal_bests` [N] float64.
        global_best_utility: The utility of `global_best`, a scalar float64.
        global_worst_utility: The utility of `global_worst`, a scalar float64.
        best_particle: The particle whose personal best is the global best, a scalar int64.
        stagnation: Iterations since, and including, the one in which a particle reached its personal best [N] int64.
        plateau: How many of the latest values of the global best's utility are equal, a scalar int64.
        iterations: Iterations done, a scalar int64; the history of the global best holds one value more.
        restarts: How often each particle was restarted [N] int64.
    """

    positions: Tensor
    velocities: Tensor
    personal_bests: Tensor
    global_best: Tensor
    global_worst: Tensor
    utilities: Tensor
    initial_utilities: Tensor
    personal_best_utilities: Tensor
    global_best_utility: Tensor
    global_worst_utility: Tensor
    best_particle: Tensor
    stagnation: Tensor
    plateau: Tensor
    iterations: Tensor
    restarts: Tensor

    def memory(self) -> dict[str, Tensor]:
        """Return every tensor but the positions, by name: what an optimizer keeps as its state."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "positions"}


def first_state(positions: Tensor, velocities: Tensor, utilities: Tensor) -> Swarm:
    """Open the swarm's memory once the first positions have been evaluated.

    Args:
        positions: First positions [N, D] float32; kept by reference.
        velocities: First velocities [N, D] float32; kept by reference.
        utilities: Utilities of the first positions [N]; higher is better. A utility that is not finite counts as
            lower than any other and is never the global best or worst.

    Returns:
        The state before the first iteration: every particle at its personal best.

    Raises:
        ValueError: If no utility is finite.
    """
    utilities = utilities.detach().to("cpu", torch.float64).clone()
    finite = utilities.isfinite()
    if not finite.any():
        raise ValueError(f"Expected a finite utility of at least one particle, but got {utilities.tolist()}.")
    known = utilities.masked_fill(~finite, -torch.inf)
    best = int(known.argmax())
    worst = int(utilities.masked_fill(~finite, torch.inf).argmin())
    particles = utilities.numel()
    return Swarm(
        positions=positions,
        velocities=velocities,
        personal_bests=positions.clone(),
        global_best=positions[best].clone(),
        global_worst=positions[worst].clone(),
        utilities=utilities,
        initial_utilities=utilities.clone(),
        personal_best_utilities=known,
        global_best_utility=utilities[best].clone(),
        global_worst_utility=utilities[worst].clone(),
        best_particle=torch.tensor(best),
        stagnation=torch.ones(particles, dtype=torch.int64),
        plateau=torch.tensor(1),
        iterations=torch.tensor(0),
        restarts=torch.zeros(particles, dtype=torch.int64),
    )
