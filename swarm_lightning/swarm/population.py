"""How a search begins: from n experts to N particles, and their first velocities.

What is asked for the greedy soup, which takes the place of the last child, comes later: see `search/procedures`.

Source: arXiv:2410.11163, section 2, and the authors' code for the range of the interpolation; arXiv:2508.19839
(PSO-Merging) for a start from the base and sparsified experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from swarm_lightning.swarm.rules import best_of, blocks_of
from swarm_lightning.swarm.starts import SCALES

FirstVelocity = Literal["random", "zero", "best"]
StartKind = Literal["experts", "experts_and_base", "experts_and_sums", "base_and_sparsified"]


@dataclass(frozen=True)
class Start:
    """What a population begins with.

    Attributes:
        kind: `experts`: the n experts. `experts_and_base`: they and the base model, n + 1 in all.
            `experts_and_sums`: they, the mean of what they add to the base, and 0.5, 1.5 and 2 times that, n + 4 in
            all; the greedy soup of the experts, of n - 1 further evaluations, takes the place of the last child.
            `base_and_sparsified`: they, the base model, and a sparsified copy of each, 2 n + 1 in all.
        density: Share of a sparsified expert's differences from the base that is kept and divided by this share, in
            (0, 1].
    """

    kind: StartKind = "experts"
    density: float = 0.5

    def points(self, experts: Tensor, generator: torch.Generator, base: Tensor | None = None) -> Tensor:
        """Return the first positions that are given, before any are grown from them.

        Args:
            experts: Weights of the n experts [n, D]; they come first, in order.
            generator: Source of the random numbers; used for sparsified experts only.
            base: Weights of the base [D]; zeros where not given, as of an adapter that changes nothing.

        Returns:
            Positions [n, D], the experts themselves, [n + 1, D], [n + 4, D] or [2 n + 1, D], dtype of the experts.

        Raises:
            ValueError: If there is no such kind, or the density out of range.

        >>> Start("base_and_sparsified", 1.0).points(torch.tensor([[1.0], [2.0]]), torch.Generator()).flatten().tolist()
        [1.0, 2.0, 0.0, 1.0, 2.0]
        """
        if self.kind not in get_args(StartKind):
            raise ValueError(f"Expected the start to be one of {get_args(StartKind)}, but got {self.kind!r}.")
        if not 0 < self.density <= 1:
            raise ValueError(f"Expected the start's density to lie in (0, 1], but got {self.density}.")
        if self.kind == "experts":
            return experts
        base = torch.zeros_like(experts[0]) if base is None else base
        if self.kind == "experts_and_base":
            return torch.cat([experts, base.unsqueeze(0)])
        if self.kind == "experts_and_sums":
            mean = experts.mean(dim=0) - base
            return torch.cat([experts, torch.stack([base + scale * mean for scale in (1.0, *SCALES)])])
        sparse = torch.empty_like(experts)
        for row, expert in zip(sparse, experts, strict=True):
            kept = torch.rand(expert.shape, generator=generator, dtype=torch.float32) < self.density
            row.copy_(base + (expert - base) * kept.to(expert) / self.density)
        return torch.cat([experts, base.unsqueeze(0), sparse])

    @property
    def soup(self) -> bool:
        """Whether the greedy soup of the experts takes the place of the last particle, before the first move."""
        return self.kind == "experts_and_sums"

    def names(self, experts: Sequence[str], particles: int) -> list[str]:
        """Return what every first position is, in words.

        Args:
            experts: Names of the n experts.
            particles: Number of particles N.

        >>> Start("experts_and_sums").names(["a", "b"], 8)[2:]
        ['the mean of 2', '0.5 times it', '1.5 times it', '2 times it', 'a child of two experts', 'the greedy soup']
        >>> Start("base_and_sparsified").names(["a"], 3)
        ['a', 'the base', 'a, sparsified']
        """
        more = {
            "experts": [],
            "experts_and_base": ["the base"],
            "experts_and_sums": [f"the mean of {len(experts)}", *(f"{scale:g} times it" for scale in SCALES)],
            "base_and_sparsified": ["the base", *(f"{name}, sparsified" for name in experts)],
        }[self.kind]
        named = [*experts, *more]
        named += ["a child of two experts"] * (particles - len(named))
        return [*named[:-1], "the greedy soup"] if self.soup else named


def grow_population(
    experts: Tensor, particles: int, span: float, generator: torch.Generator, out: Tensor | None = None
) -> Tensor:
    """Add children of two random parents until there are enough particles.

    A child is t a + (1 - t) b of two different experts a and b, with t ~ U(0, span).

    Departure: in the authors' code a child joins those from which the next parents are drawn, so that later children
    may have earlier ones as parents and lie further out. Here all parents are what the population is given, as in the
    paper's text: children are alike, and the order in which they are made does not matter.

    Args:
        experts: Weights of the n experts [n, D]; they stay in the population, in front and in order.
        particles: Number of particles N >= n.
        span: Upper end of the range of t: 2 is half interpolation and half extrapolation (the authors' code), 1 is
            interpolation only (the paper's text).
        generator: Source of the random numbers.
        out: Where the positions go, [N, D] float32, in a memory-mapped file for example; None makes a new tensor.

    Returns:
        Positions [N, D] float32: `out`, where it was given.

    Raises:
        ValueError: If there are more experts than particles, a child has no two parents, the span is not above 0, or
            `out` has another shape or type.

    Source: arXiv:2410.11163, section 2; BunsenFeng/model_swarm, search.py, for the range of t and the departure.
    """
    if not 0 < span < float("inf"):
        raise ValueError(f"Expected the span of t to be above 0 and finite, but got {span}.")
    count, dimensions = experts.shape
    if particles < count:
        raise ValueError(
            f"Expected at least as many particles as experts, but got {particles} particles and {count} experts. "
            f"Set particles to {count} or more, or leave experts out."
        )
    if particles > count and count < 2:
        raise ValueError(f"Expected at least 2 experts to cross, but got {count} for {particles} particles.")
    if out is None:
        out = torch.empty(particles, dimensions, dtype=torch.float32, device=experts.device)
    if out.shape != (particles, dimensions) or out.dtype != torch.float32:
        raise ValueError(
            f"Expected out to be {(particles, dimensions)} float32, but got {tuple(out.shape)} {out.dtype}."
        )
    positions = out
    positions[:count] = experts
    for index, (first, second, share) in enumerate(draw_children(count, particles, span, generator), start=count):
        child, one, other = positions[index], positions[first], positions[second]
        for block in blocks_of(positions):
            blend(child[block].copy_(one[block]), other[block], share)
    return positions


def blend(child: Tensor, other: Tensor, share: float) -> Tensor:
    """Make a child t a + (1 - t) b in the place of a.

    Args:
        child: Weights of a, or some of them; updated in place.
        other: Those of b.
        share: t.

    Returns:
        The child.
    """
    return child.mul_(share).add_(other, alpha=1 - share)


def draw_children(
    experts: int, particles: int, span: float, generator: torch.Generator
) -> list[tuple[int, int, float]]:
    """Draw the two parents of every child, and its place on the line through them.

    Args:
        experts: Number of experts n.
        particles: Number of particles N >= n.
        span: Upper end of the range of t.
        generator: Source of the random numbers.

    Returns:
        For each of the N - n children a, b and t of t a + (1 - t) b.
    """
    children = []
    for _ in range(experts, particles):
        first = int(torch.randint(experts, (), generator=generator))
        second = other_than(first, experts, generator)
        share = span * float(torch.rand((), dtype=torch.float64, generator=generator))
        children.append((first, second, share))
    return children


def first_velocities(positions: Tensor, utilities: Tensor, mode: FirstVelocity, generator: torch.Generator) -> Tensor:
    """Give every particle its first velocity.

    Args:
        positions: First positions [N, D].
        utilities: Their utilities [N]; -inf for a broken particle, towards which none is sent.
        mode: `random`: towards another particle drawn at random, x_j - x_i; at rest where that is broken. `zero`: at
            rest. `best`: towards the best of the first positions, g - x_i.
        generator: Source of the random numbers; used by `random` only.

    Returns:
        Velocities [N, D], dtype of the positions.

    Raises:
        ValueError: If the mode is none of the three, or `random` has no other particle to draw.
    """
    velocities = torch.zeros_like(positions)
    for index, partner in enumerate(draw_partners(positions.shape[0], utilities, mode, generator)):
        if partner is not None:
            torch.sub(positions[partner], positions[index], out=velocities[index])
    return velocities


def draw_partners(count: int, utilities: Tensor, mode: FirstVelocity, generator: torch.Generator) -> list[int | None]:
    """Draw the particle that each one first heads for.

    Args:
        count: Number of particles N.
        utilities: Utilities of the first positions [N]; -inf for a broken particle, towards which none is sent.
        mode: `random`, `zero` or `best`; see `first_velocities`.
        generator: Source of the random numbers; used by `random` only.

    Returns:
        One index per particle; None for a particle that is at rest.

    Raises:
        ValueError: If the mode is none of the three, or `random` has no other particle to draw.
    """
    if mode == "zero":
        return [None] * count
    if mode == "best":
        return [best_of(utilities)] * count
    if mode != "random":
        raise ValueError(f"Expected the first velocity to be 'random', 'zero' or 'best', but got {mode!r}.")
    if count < 2:
        raise ValueError(f"Expected at least 2 particles for random first velocities, but got {count}.")
    others = [other_than(index, count, generator) for index in range(count)]
    return [None if utilities[other] == -torch.inf else other for other in others]


def other_than(index: int, count: int, generator: torch.Generator) -> int:
    """Draw one of `count` indices, uniformly among those that differ from `index`."""
    drawn = int(torch.randint(count - 1, (), generator=generator))
    return drawn + (drawn >= index)
