"""An evolution strategy in two halves: ask pairs of candidates a few examples each, tell which of each pair did better.

A centre c moves through the space. In every step, pairs c + s u and c - s u stand on its two sides. Both of a pair are
asked the same few examples, the next ones of a shuffled queue that walks through all of them, so that what makes an
example hard for all cancels; different pairs are asked different ones. The difference of their utilities weighs u:

    g = sum over pairs of (f(c + s u) - f(c - s u)) u
    m = momentum m + g
    c = c + length (1 - k / steps) sqrt(D) m / |m|

Some numbers of c may stay as they are; D counts the others. Where the numbers are larger than those of a mean, both s
and the length are multiplied by the unit that they are measured in.

What is found is the mean of the centres of the last steps, not the best candidate: no single one was asked enough to
be known for the best. Nothing here holds a state, and all randomness comes in as a generator. Sources: Rechenberg 1973;
Salimans et al., Evolution strategies, arXiv:1703.03864, section 2 (antithetic pairs); Polyak and Juditsky 1992 (the
mean of the last iterates).
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from swarm_lightning.swarm.settings import OptimizerSettings

REFITTED_UNIT = 2.0  # where every expert has about 1 in a sum, as when fitted anew, in place of a share of it


@dataclass(frozen=True)
class EvolutionSettings(OptimizerSettings):
    """What makes one step of the strategy what it is, and how many there are.

    Attributes:
        steps: Steps K of the whole search, >= 1; the length of a step falls to 0 over them.
        batch: Examples that a pair is asked, >= 1; all where there are fewer.
        deviation: How far candidates lie from the centre in each direction s, > 0: the standard deviation of a number.
        step_length: How far the first step goes per number of the position, > 0.
        momentum: How much of the direction of earlier steps stays, in [0, 1).
        averaged: Share of the steps, in (0, 1], whose centres make up what is found: the last ones.
    """

    steps: int = 24
    batch: int = 8
    deviation: float = 0.06
    step_length: float = 0.02
    momentum: float = 0.8
    averaged: float = 1 / 3

    def __post_init__(self) -> None:
        """Refuse what no centre can be moved by."""
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Expected {name} to be a whole number of 1 or more, but got {value!r}.")
        for name in ("deviation", "step_length"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"Expected {name} to be above 0 and finite, but got {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"Expected momentum to lie in [0, 1), but got {self.momentum}.")
        if not 0 < self.averaged <= 1:
            raise ValueError(f"Expected averaged to be a share in (0, 1], but got {self.averaged}.")

    @property
    def first_averaged(self) -> int:
        """The number of steps that must be done before centres count for what is found.

        >>> EvolutionSettings(steps=24).first_averaged, EvolutionSettings(steps=2).first_averaged
        (16, 1)
        """
        return self.steps - max(1, round(self.averaged * self.steps))

    def pairs(self, evaluations: int, examples: int) -> int:
        """Return how many pairs every step can ask.

        Args:
            evaluations: (candidate, example) pairs that all steps together may ask.
            examples: Number of examples M.

        Raises:
            ValueError: If they do not hold one pair a step.

        >>> EvolutionSettings(steps=24, batch=8).pairs(43_800, 200)
        114
        """
        held = self.pairs_held(evaluations, examples)
        if held == 0:
            raise ValueError(
                f"Expected {self.least(examples)} evaluations or more for {self.steps} steps of one pair of candidates "
                f"with {min(self.batch, examples)} examples each, but there are {max(evaluations, 0)}. Raise the "
                "budget, or lower the number of steps."
            )
        return held

    def pairs_held(self, evaluations: int, examples: int) -> int:
        """Return how many pairs every step can ask, 0 where that is not even one; see `pairs`."""
        return max(evaluations, 0) // self.least(examples)

    def least(self, examples: int) -> int:
        """Return what all steps together ask at least, one pair each: (candidate, example) pairs.

        Args:
            examples: Number of examples M.

        >>> EvolutionSettings(steps=24, batch=8).least(200)
        384
        """
        return 2 * self.steps * min(self.batch, examples)


@dataclass(frozen=True)
class Centre:
    """What the strategy remembers between two steps.

    Attributes:
        position: The centre c [D] float64.
        momentum: The direction of earlier steps m [D] float64.
        total: Sum of the centres that count for what is found [D] float64.
        steps: Steps done, a scalar int64.
        order: The queue: places of the examples in the order in which they are asked [M] int64.
        asked: How many of the queue have been asked, a scalar int64.
        free: Which numbers of the centre are moved [D] bool.
        unit: What deviation and step length are measured in, a scalar float64.
    """

    position: Tensor
    momentum: Tensor
    total: Tensor
    steps: Tensor
    order: Tensor
    asked: Tensor
    free: Tensor
    unit: Tensor

    def memory(self) -> dict[str, Tensor]:
        """Return every tensor by name: what an optimizer keeps as its state."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Pairs(NamedTuple):
    """What a step asks: P candidates in P / 2 pairs, the two of a pair one behind the other.

    Attributes:
        directions: What leads from the centre to the first of every pair, per deviation, u [P / 2, D] float64.
        candidates: Positions [P, D] float32.
        wanted: Which examples each is asked [P, M] bool.
    """

    directions: Tensor
    candidates: Tensor
    wanted: Tensor


def begin(
    position: Tensor, examples: int, generator: torch.Generator, free: Tensor | None = None, unit: float = 1.0
) -> Centre:
    """Open a search.

    Args:
        position: Where the centre begins [D].
        examples: Number of examples M, >= 1.
        generator: Source of the random numbers.
        free: Which of its numbers are moved [D] bool, one at least; all where not given.
        unit: What deviation and step length are measured in, > 0.
    """
    position = position.detach().to("cpu", torch.float64).clone()
    return Centre(
        position=position,
        momentum=torch.zeros_like(position),
        total=torch.zeros_like(position),
        steps=torch.tensor(0),
        order=torch.randperm(examples, generator=generator),
        asked=torch.tensor(0),
        free=torch.ones(len(position), dtype=torch.bool) if free is None else free.cpu(),
        unit=torch.tensor(unit, dtype=torch.float64),
    )


def ask(centre: Centre, settings: EvolutionSettings, pairs: int, generator: torch.Generator) -> tuple[Centre, Pairs]:
    """Draw the pairs of a step, and what each is asked.

    Args:
        centre: What is remembered; not changed.
        settings: Of the strategy.
        pairs: Number of pairs, >= 1.
        generator: Source of the random numbers.

    Returns:
        The same with the queue moved on, and the pairs.
    """
    directions = torch.zeros(pairs, len(centre.position), dtype=torch.float64)
    directions[:, centre.free] = torch.randn(pairs, int(centre.free.sum()), dtype=torch.float64, generator=generator)
    order, asked, count = centre.order, int(centre.asked), len(centre.order)
    wanted = torch.zeros(2 * pairs, count, dtype=torch.bool)
    for pair in range(pairs):
        places, order, asked = next_batch(order, asked, min(settings.batch, count), generator)
        wanted[2 * pair : 2 * pair + 2, places] = True
    offsets = settings.deviation * float(centre.unit) * torch.stack([directions, -directions], dim=1).flatten(0, 1)
    memory = {**centre.memory(), "order": order, "asked": torch.tensor(asked)}
    return Centre(**memory), Pairs(directions, (centre.position + offsets).float(), wanted)


def next_batch(order: Tensor, asked: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """Take the next examples of a shuffled queue.

    Args:
        order: The queue: places of M examples in the order in which they are asked [M] int64.
        asked: How many of it have been asked.
        batch: How many to take, <= M.
        generator: Shuffles the queue again where what is left of it is no whole batch: another comes first next time.

    Returns:
        Places [batch], the queue, and how many of it have been asked by then.

    >>> places, _, asked = next_batch(torch.tensor([2, 0, 1]), 1, 2, torch.Generator())
    >>> places.tolist(), asked
    ([0, 1], 3)
    """
    if asked + batch > len(order):
        order, asked = torch.randperm(len(order), generator=generator), 0
    return order[asked : asked + batch], order, asked + batch


def tell(centre: Centre, settings: EvolutionSettings, step_length: float, pairs: Pairs, utilities: Tensor) -> Centre:
    """Move the centre.

    Args:
        centre: What is remembered; not changed.
        settings: Of the strategy.
        step_length: How far the step goes per number of the position, >= 0.
        pairs: What was asked.
        utilities: Of every candidate on its examples [P]; a pair in which one is not finite tells nothing.

    Returns:
        What is remembered after the step.

    Raises:
        ValueError: If the shape is wrong.
    """
    if tuple(utilities.shape) != (len(pairs.candidates),):
        raise ValueError(f"Expected {len(pairs.candidates)} utilities, but got {tuple(utilities.shape)}.")
    first, second = utilities.detach().to("cpu", torch.float64).unflatten(0, (-1, 2)).unbind(dim=1)
    differences = first - second
    gain = differences.where(differences.isfinite(), 0.0) @ pairs.directions
    momentum = settings.momentum * centre.momentum + gain
    length = float(momentum.norm())
    position = centre.position
    if length > 0:
        distance = step_length * float(centre.unit) * math.sqrt(int(centre.free.sum()))
        position = position + distance / length * momentum
    steps = int(centre.steps) + 1
    total = centre.total + position if steps > settings.first_averaged else centre.total
    memory = {"position": position, "momentum": momentum, "total": total, "steps": torch.tensor(steps)}
    return Centre(**{**centre.memory(), **memory})


def found(centre: Centre, settings: EvolutionSettings) -> Tensor:
    """Return what the search stands for [D] float32: the mean of the last centres, or the centre before there are any.

    Args:
        centre: What is remembered.
        settings: Of the strategy.
    """
    count = int(centre.steps) - settings.first_averaged
    return (centre.total / count if count > 0 else centre.position).float()


def step_length_of(settings: EvolutionSettings, step: int) -> float:
    """Return how far a step goes per number of the position.

    Args:
        settings: Of the strategy.
        step: Which one, from 0.

    >>> [step_length_of(EvolutionSettings(steps=4, step_length=0.5), step) for step in range(4)]
    [0.5, 0.375, 0.25, 0.125]
    """
    return settings.step_length * max(0.0, 1 - step / settings.steps)
