"""EvoGM: coefficients of the experts, proposed by two small networks that learn what winners have and losers lack.

A round evolves P = 2 n vectors c of one coefficient per expert, the model being base + sum c_i (x_i - base):

    first       each expert alone, their mean, and the rest uniform in [-1, 1]
    three times winners W: the best 30% of all that the round has asked; losers L: the others. 200 steps of Adam on
                100 (|G(F(l)) - l|^2 + |F(G(w)) - w|^2) + |F(l) - mean(W)|^2, means over as many losers as winners;
                F and G, from losers to winners and back, have five hidden layers and end in tanh. F is asked to improve
                all P, and the best P of old and new live on
    last        the best n of all that the round has asked become the experts of the next round

The best ever comes out, and rounds go on while the budget lasts; published are two. Language models are only asked
forwards: the gradients are the small networks'. Of adapters x_i - base is the product B_i A_i, as the release merges
them into the base first; of full checkpoints the weights, and without a base the row is absent. Our reading: experts
of a later round are not asked anew, as their utilities are known. Source: Jiang et al., arXiv:2605.29295, for P; for
all else, such as networks that are made anew every round and trained on within it, the authors' release,
github.com/JiangTao97/evogm, `fusion_bench/method/evogm.py` and `config/method/evogm.yaml`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench, coefficients_text
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.swarm.rules import best_of

GENERATIONS = 3  # of a round, behind the first population
WINNERS = 0.3
HIDDEN = (128, 256, 256, 256, 128)
EPOCHS = 200
RATE = 1e-4
CYCLE = 100.0


class Generators(nn.Module):
    """Two networks from coefficients to coefficients in (-1, 1): from losers to winners, and back.

    Attributes:
        to_winners: What proposes.
        to_losers: What keeps it from proposing the same for all.
    """

    def __init__(self, size: int, generator: torch.Generator) -> None:
        """Draw their first weights.

        Args:
            size: Number of coefficients n.
            generator: Source of the random numbers.
        """
        super().__init__()
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):  # torch draws first weights from the process's own numbers
            torch.manual_seed(seed)
            self.to_winners, self.to_losers = _network(size), _network(size)

    def loss(self, winners: Tensor, losers: Tensor) -> Tensor:
        """Return what training lowers.

        Args:
            winners: Coefficients [W, n].
            losers: Coefficients [W, n].
        """
        won, lost = self.to_winners(losers), self.to_losers(winners)
        cycle = mse_loss(self.to_losers(won), losers) + mse_loss(self.to_winners(lost), winners)
        return CYCLE * cycle + mse_loss(won, winners.mean(dim=0).expand_as(won))

    def learn(self, optimizer: torch.optim.Optimizer, winners: Tensor, losers: Tensor, draw: torch.Generator) -> None:
        """Train on all that is known so far.

        Args:
            optimizer: Of the networks' weights.
            winners: Coefficients [W, n].
            losers: Coefficients [L, n].
            draw: Draws which of the larger group a step sees: as many as there are of the smaller.
        """
        count = min(len(winners), len(losers))
        with torch.enable_grad():
            for _ in range(EPOCHS):
                seen = [group[torch.randperm(len(group), generator=draw)[:count]] for group in (winners, losers)]
                optimizer.zero_grad()
                self.loss(*seen).backward()
                optimizer.step()

    @torch.no_grad()
    def improve(self, population: Tensor) -> Tensor:
        """Return what is proposed in the place of coefficients [P, n]."""
        return self.to_winners(population.float()).double()


def first_population(size: int, generator: torch.Generator) -> Tensor:
    """Return what a round begins with [2 n, n]: each expert alone, their mean, and numbers drawn from [-1, 1].

    Args:
        size: Number of experts n, 2 or more.
        generator: Source of the random numbers.

    >>> first_population(2, torch.Generator())[:3].tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    """
    alone, mean = torch.eye(size, dtype=torch.float64), torch.full((1, size), 1 / size, dtype=torch.float64)
    drawn = 2 * torch.rand(size - 1, size, dtype=torch.float64, generator=generator) - 1
    return torch.cat([alone, mean, drawn])


def ranked(utilities: Tensor) -> Tensor:
    """Return places [P] from the highest utility to the lowest; one that is not finite comes last."""
    return utilities.masked_fill(~utilities.isfinite(), -torch.inf).argsort(descending=True, stable=True)


class EvoGM:
    """Lets two networks propose coefficients, and keeps the best that it has asked."""

    title = "EvoGM"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Do rounds until the budget is spent.

        Raises:
            Absent: If the budget is too small for the first population, or the experts are full checkpoints without a
                base.
        """
        size = len(bench.names)
        if bench.affordable < 2 * size:
            raise Absent(
                f"the budget of {bench.budget} evaluations is too small for a population of {2 * size} with "
                f"{len(bench.examples)} examples each"
            )
        if bench.shares_passes:
            products = ProductBench(bench)
            found, utility, rounds = search(bench, products.utilities)
            return products.composition(found, utility, _detail(bench, found, rounds))
        origin = bench.origin()
        found, utility, rounds = search(bench, lambda weights: bench.utilities(bench.combinations(weights, origin)))
        vector = bench.combinations(found[None], origin)[0][:].clone()
        return Composition(utility, _detail(bench, found, rounds), vector)


def search(bench: Bench, utilities_of: Callable[[Tensor], Tensor]) -> tuple[Tensor, float, int]:
    """Do rounds until the budget is spent, the last one as far as it goes.

    Args:
        bench: Gives the number of experts, the random numbers, and what the budget still holds.
        utilities_of: Asks coefficients of the experts [P, n] all examples, at the budget's cost.

    Returns:
        The best coefficients that were asked [n] float64, their utility, and the number of rounds.
    """
    size = len(bench.names)
    experts, known = torch.eye(size, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    found, utility, rounds = experts[0], -torch.inf, 0
    while bench.affordable:
        rounds += 1
        population = first_population(size, bench.generator)[: len(known) + bench.affordable]
        utilities = torch.cat([known, utilities_of(population[len(known) :] @ experts)])
        asked, scored = population, utilities
        generators = Generators(size, bench.generator)
        optimizer = torch.optim.Adam(generators.parameters(), lr=RATE)
        for _ in range(GENERATIONS):
            if not bench.affordable:
                break
            order, winners = ranked(scored), max(1, int(WINNERS * len(scored)))
            groups = asked[order[:winners]].float(), asked[order[winners:]].float()
            generators.learn(optimizer, *groups, bench.generator)
            proposed = generators.improve(population)[: bench.affordable]
            reached = utilities_of(proposed @ experts)
            asked, scored = torch.cat([asked, proposed]), torch.cat([scored, reached])
            population, utilities = torch.cat([population, proposed]), torch.cat([utilities, reached])
            alive = ranked(utilities)[: 2 * size]
            population, utilities = population[alive], utilities[alive]
        best = best_of(scored)
        if float(scored[best]) > utility:
            found, utility = asked[best] @ experts, float(scored[best])
        chosen = ranked(scored)[:size]
        experts, known = asked[chosen] @ experts, scored[chosen]
    return found, utility, rounds


def _detail(bench: Bench, found: Tensor, rounds: int) -> str:
    return f"round {rounds} was the last: {coefficients_text(bench.names, found)}"


def _network(size: int) -> nn.Sequential:
    widths = (size, *HIDDEN)
    layers: list[nn.Module] = []
    for narrow, wide in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], size), nn.Tanh())
