"""Spherical interpolation between the two best experts, at the best of a few places.

    slerp(a, b; t) = sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b,  w the angle between a and b

Tensor by tensor, on A and B as they stand, each as one vector; where two tensors point (almost) the same or the
opposite way, the straight line between them. Of full checkpoints on the weights themselves, as mergekit does it, and
not on their differences from a base. n + 9 evaluations: t = 0.1, 0.2, ..., 0.9. Source: Shoemake 1985, Animating
rotation with quaternion curves; tensor by tensor and with the straight line as in mergekit's documentation.
"""

import math

import torch
from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.candidates import LazyCandidates
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.swarm.rules import best_of

PLACES = tuple(place / 10 for place in range(1, 10))
ALMOST_PARALLEL = 0.9995  # |cosine| from which on sin(w) is too small to divide by


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Go a part of the way from one tensor to another, on the arc between them.

    Args:
        first: Any shape.
        second: The same shape.
        t: Part of the way: 0 is the first, 1 the second.

    Returns:
        The same shape and dtype.

    >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.5)
    tensor([0.7071, 0.7071])
    """
    one, other = first.double().flatten(), second.double().flatten()
    lengths = float(one.norm() * other.norm())
    cosine = float(one @ other) / lengths if lengths > 0 else 1.0
    if abs(cosine) > ALMOST_PARALLEL:
        mixed = (1 - t) * one + t * other
    else:
        angle = math.acos(cosine)
        mixed = (math.sin((1 - t) * angle) * one + math.sin(t * angle) * other) / math.sin(angle)
    return mixed.to(first.dtype).view_as(first)


class Slerp:
    """Walks from the best expert to the second best."""

    title = "SLERP"
    kind: Kind = "fixed"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Choose two experts and the place between them by validation utility."""
        experts, layout = bench.experts, bench.module.pool.layout
        utilities = bench.utilities(experts)
        ranked = utilities.nan_to_num(nan=-math.inf).argsort(descending=True, stable=True)[:2].tolist()
        ends = [layout.unflatten(experts[place]) for place in ranked]

        def between(place: int) -> Tensor:
            t, joined = PLACES[place], torch.empty_like(experts[0])
            for name, part in layout.unflatten(joined).items():
                part.copy_(slerp(ends[0][name], ends[1][name], t))
            return joined

        candidates = LazyCandidates(len(PLACES), between)
        found = bench.utilities(candidates)
        best = best_of(found)
        names = " to ".join(bench.names[place] for place in ranked)
        return Composition(float(found[best]), f"{names}, t = {PLACES[best]}", candidates[best])
