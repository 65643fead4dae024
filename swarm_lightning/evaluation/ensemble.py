"""One answer from many particles: a majority vote, in which utility decides ties."""

import math
from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

from swarm_lightning.objectives.protocol import Outcome


def vote(ballots: Sequence[Sequence[Outcome | None]], utilities: Tensor) -> list[Outcome]:
    """Let particles vote on the answer to every example.

    Each particle that was asked and from whose reply an answer could be read has one vote. The answer with the most
    votes wins; of equals, the one that the particle with the highest utility gave, and of equal particles the first.
    Where no particle has an answer, the best particle's outcome stands.

    Args:
        ballots: What P particles made of M examples [P][M]; None where one was not asked.
        utilities: How good each particle is [P], on the validation examples as a rule; NaN counts lowest.

    Returns:
        For every example, the outcome of the best particle that gave the winning answer [M].

    Raises:
        ValueError: If there is not one utility per particle, or an example was asked of no particle.
    """
    if utilities.shape != (len(ballots),):
        raise ValueError(
            f"Expected one utility for each of {len(ballots)} particles, but got {tuple(utilities.shape)}."
        )
    known = [-math.inf if math.isnan(utility) else utility for utility in utilities.tolist()]
    best_first = sorted(range(len(known)), key=lambda particle: -known[particle])
    return [
        _winner([outcomes[particle] for particle in best_first], place)
        for place, outcomes in enumerate(zip(*ballots, strict=True))
    ]


def _winner(outcomes: Sequence[Outcome | None], place: int) -> Outcome:
    """Return the winning outcome for one example, given the particles' outcomes from the best particle down."""
    asked = [outcome for outcome in outcomes if outcome is not None]
    if not asked:
        raise ValueError(
            f"Expected an outcome of one particle or more for every example, but example {place} has none."
        )
    supporters: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in asked:
        if outcome.answer is not None:
            supporters[outcome.answer].append(outcome)
    # max keeps the first of equals, and answers stand in the order of their best supporters.
    return max(supporters.values(), key=len)[0] if supporters else asked[0]
