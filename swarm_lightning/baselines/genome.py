"""GENOME and GENOME+: models that cross, mutate and are selected; with +, the young also learn from the best.

A generation of N individuals with utilities f, those above `low` = min(0, lowest utility) by f - low:

    crossover   N / 2 times, with probability 0.8: two different parents drawn with p ~ f - low;
                child = (f_a x_a + f_b x_b) / (f_a + f_b), each f less `low`
    mutation    of every parent and child with probability 0.15, one more: x + noise at 1% of the weights, N(0, 0.01^2)
    succession  (GENOME+) every child and mutant takes the particle step of the swarm: x + s (g (b - x) + w (x - z)),
                b the best and z the worst individual ever, s = 0.5, g + w = 1 by drawn coefficients 0.5 and 0.05
    selection   the best one stays; the other places by tournaments of three, nobody twice

On A and B, or all weights of full checkpoints, as they stand, from the experts and children of theirs as the published
swarm grows them; all operators but mutation, whose noise has one size, are the same wherever the origin lies. What is
evaluated once keeps its utility, and the best one ever comes out. The published GENOME+ also lets its last population
vote; here a row is one model. Source: Zhang et al., arXiv:2503.01155, and for the rates a public copy of its code,
github.com/dylan518/EVOLVE, `run_genome.py` and `src/genome/`, in which the best 2% stay: nobody by right where N is
below 50.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.swarm.population import blend, draw_children
from swarm_lightning.swarm.rules import Coefficients, best_of

CROSSOVER_RATE = 0.8
MUTATION_RATE = 0.15
GENE_RATE = 0.01
DEVIATION = 0.01
TOURNAMENT = 3
STEP = 0.5
PULLS = Coefficients(inertia=0.0, cognitive=0.0, social=0.5, repel=0.05)


@dataclass
class Individuals:
    """Individuals and what they are worth.

    Attributes:
        weights: Their weights, N rows [D].
        utilities: Their utilities [N] float64.
    """

    weights: Sequence[Tensor]
    utilities: Tensor


def worth(utilities: Tensor) -> Tensor:
    """Return numbers >= 0 that parents are drawn and mixed by [N]: utilities, from the lowest where that is negative.

    >>> worth(torch.tensor([0.5, 0.25])).tolist(), worth(torch.tensor([-3.0, -1.0])).tolist()
    ([0.5, 0.25], [0.0, 2.0])
    """
    finite = utilities.masked_fill(~utilities.isfinite(), float(utilities[utilities.isfinite()].min()))
    return finite - min(0.0, float(finite.min()))


def cross(parents: Tensor, worths: Tensor) -> Tensor:
    """Return the mean of two parents, weighted by what they are worth; the plain mean where neither is worth anything.

    Args:
        parents: Weights [2, D].
        worths: [2], >= 0.

    Returns:
        Weights [D].

    >>> cross(torch.tensor([[0.0], [8.0]]), torch.tensor([1.0, 3.0])).tolist()
    [6.0]
    """
    total = float(worths.sum())
    shares = worths / total if total > 0 else torch.full_like(worths, 0.5)
    return shares.to(parents) @ parents


def mutate(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Add small noise to a few weights [D]."""
    mask = torch.rand(weights.shape, generator=generator) < GENE_RATE
    return weights + mask * torch.randn(weights.shape, generator=generator) * DEVIATION


def succeed(weights: Tensor, best: Tensor, worst: Tensor, draws: Tensor) -> Tensor:
    """Take a step to the best individual and away from the worst.

    Args:
        weights: Weights [D].
        best: Weights of the best individual so far [D].
        worst: Weights of the worst one so far [D].
        draws: Numbers in [0, 1), [1, 4], as for a particle of the swarm; the last two are used.

    Returns:
        Weights [D].
    """
    _, _, social, repel = PULLS.weigh(draws)[0].tolist()
    return weights + STEP * (social * (best - weights) + repel * (weights - worst))


def offspring(population: Individuals, generator: torch.Generator) -> list[Tensor]:
    """Make the children and mutants of one generation.

    Args:
        population: The parents, N of them.
        generator: Source of the random numbers.

    Returns:
        Weights [D] of each.
    """
    worths = worth(population.utilities)
    children: list[Tensor] = []
    for _ in range(len(worths) // 2):
        if float(torch.rand((), generator=generator)) < CROSSOVER_RATE:
            # A little for everybody, so that there are always two to draw.
            pair = torch.multinomial(worths + 1e-9, 2, generator=generator)
            parents = torch.stack([population.weights[parent] for parent in pair.tolist()])
            children.append(cross(parents, worths[pair]))
    everybody = [*population.weights, *children]
    chances = torch.rand(len(everybody), generator=generator)
    mutants = [mutate(one, generator) for one, chance in zip(everybody, chances, strict=True) if chance < MUTATION_RATE]
    return [*children, *mutants]


def select(utilities: Tensor, places: int, generator: torch.Generator) -> list[int]:
    """Choose who lives on: the best one, and the winners of tournaments among the rest.

    Args:
        utilities: [P], P >= places.
        places: How many live on.
        generator: Source of the random numbers.

    Returns:
        Their indices, nobody twice.
    """
    known = utilities.masked_fill(~utilities.isfinite(), -math.inf)
    chosen = [int(known.argmax())]
    left = [index for index in range(len(known)) if index != chosen[0]]
    while len(chosen) < places:
        candidates = torch.randperm(len(left), generator=generator)[:TOURNAMENT].tolist()
        winner = max((left[candidate] for candidate in candidates), key=lambda index: float(known[index]))
        chosen.append(winner)
        left.remove(winner)
    return chosen


def first_population(experts: Tensor, size: int, span: float, generator: torch.Generator) -> list[Tensor]:
    """Return the population that the swarm begins with: the experts, without a copy, and their children.

    Args:
        experts: Weights [n, D].
        size: Number of individuals N >= n.
        span: Upper end of the range of t in a child t a + (1 - t) b.
        generator: Source of the random numbers.

    Returns:
        N rows [D].
    """
    children = draw_children(len(experts), size, span, generator)
    return [*experts, *(blend(experts[one].clone(), experts[other], t) for one, other, t in children)]


class Genome:
    """Evolves a population of as many individuals as the swarm has particles."""

    kind: Kind = "search"
    least = 2

    def __init__(self, plus: bool = False) -> None:
        """Choose between the two.

        Args:
            plus: Whether the young learn from the best and the worst.
        """
        self.plus = plus
        self.title = "GENOME+" if plus else "GENOME"

    def compose(self, bench: Bench) -> Composition:
        """Evolve until the budget is spent.

        Raises:
            Absent: If the budget is too small for the first population, or nobody in it gives numbers.
        """
        size, generator = bench.module.settings.particles, bench.generator
        if bench.affordable < size:
            raise Absent(
                f"the budget of {bench.budget} evaluations is too small for a population of {size} with "
                f"{len(bench.examples)} examples each"
            )
        individuals = first_population(bench.experts, size, bench.module.settings.child_span, generator)
        population = Individuals(individuals, bench.utilities(individuals))
        utilities = population.utilities
        if not utilities.isfinite().any():
            raise Absent("every individual of its first population breaks the model")
        best, worst = best_of(utilities), best_of(-utilities)  # what is not finite is neither
        found, floor = float(utilities[best]), float(utilities[worst])
        champion, last = individuals[best], individuals[worst]
        generations = 0
        while affordable := bench.affordable:
            young = offspring(population, generator)[:affordable]
            if self.plus:
                draws = torch.rand(len(young), 1, 4, dtype=torch.float64, generator=generator)
                for place, drawn in enumerate(draws):
                    young[place] = succeed(young[place], champion, last, drawn)
            generations += 1
            if not young:
                continue
            utilities = bench.utilities(young)
            best, worst = best_of(utilities), best_of(-utilities)
            if float(utilities[best]) > found:
                found, champion = float(utilities[best]), young[best]
            if float(utilities[worst]) < floor:
                floor, last = float(utilities[worst]), young[worst]
            individuals, worths = [*population.weights, *young], torch.cat([population.utilities, utilities])
            alive = select(worths, size, generator)
            individuals = [individuals[index] for index in alive]  # nothing else holds those that are not
            population = Individuals(individuals, worths[alive])
        return Composition(found, f"{generations} generations of {size}", champion)
