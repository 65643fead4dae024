"""Merging followed by an evolution strategy: the best of a few sums, then one coefficient per expert and module.

Start and strategy follow the objective's smooth guide, and the objective has a say in where the steps begin, as in
`swarm adapt` (`swarm/starts.py`). What that leaves of the budget is shared out to pairs of candidates that are asked a
few examples each (`swarm/evolution.py`). In the end the objective chooses among what the steps have found and what
takes none. Absent for full checkpoints, and where the objective has no such guide. Related: merging followed by
evolution, arXiv:2606.28373.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.experts.products.products import Granularity
from swarm_lightning.swarm import evolution
from swarm_lightning.swarm.centre_search import BEST_EXPERT, LAST_CENTRE, MEAN, START
from swarm_lightning.swarm.evolution import Centre, EvolutionSettings, Pairs
from swarm_lightning.swarm.evolution_strategy import AVERAGE, CHOICES
from swarm_lightning.swarm.rules import best_of
from swarm_lightning.swarm.starts import settle, starts_of

Start = Literal["best_sum", "greedy_soup", "product_mean", "best_expert"]
# What is chosen among, from what matters most on: a small budget holds the first ones only.
BY_WORTH = (AVERAGE, START, BEST_EXPERT, MEAN, LAST_CENTRE)
SHARE_SETTLED = 0.1  # of the budget, the most that the objective's say in the start may take


class Beginning(NamedTuple):
    """Where the centre begins.

    Attributes:
        weights: How much of each expert [n].
        name: What that is.
        best: Place of the best single expert; None where the experts were not asked.
        asked: Whole evaluations that it took to find it.
    """

    weights: Tensor
    name: str
    best: int | None
    asked: int


@dataclass
class EvolutionStrategyRow:
    """Moves the coefficients of the experts' products from a simple sum of them.

    Attributes:
        title: What it is called in the table.
        granularity: What of every expert has a coefficient of its own.
        start: Where the centre begins: at the best of a few sums of the products (`swarm/starts.py`), as many of them
            as the budget holds; at their greedy soup, their mean, or the best single expert. What is asked to find it
            counts.
        guided: Whether start and steps follow the objective's smooth guide, and not the objective itself.
        chooses: Whether the objective chooses in the end among the mean of the last centres, the start, the best
            expert, the mean of the experts and the last centre, as many of them as the budget holds beside a pair a
            step; the first is handed over else.
        settings: Of the strategy.
    """

    title: str = "evolution strategy"
    granularity: Granularity = "module"
    start: Start = "best_sum"
    guided: bool = True
    chooses: bool = True
    settings: EvolutionSettings = EvolutionSettings()
    kind: Kind = "search"
    least: int = 2

    def compose(self, bench: Bench) -> Composition:
        """Spend the budget on steps of equal cost.

        Raises:
            Absent: If the experts are full checkpoints, the objective has no smooth guide where one is followed, or
                the budget is too small for the start and one pair a step.
        """
        assert bench.budget is not None
        settings = self.settings
        products = ProductBench(bench, "greedy soup", self.granularity, guided=self.guided)
        examples = len(bench.examples)
        least = self.evaluations_before(len(bench.names))
        try:
            settings.pairs(bench.budget - (least + 1) * examples, examples)
        except ValueError as error:
            start = self.start.replace("_", " ")
            raise Absent(f"the budget is too small for the {start} and the strategy: {error}") from error
        beginning = self._beginning(bench, products)
        left = bench.budget - beginning.asked * examples
        # Whole evaluations by the objective that are kept for the choice; one of what is found in any case.
        held = (left - settings.least(examples)) // examples if self.chooses else 1
        kept = max(1, min(held, len(BY_WORTH)))
        pairs = settings.pairs(left - kept * examples, examples)
        centre = evolution.begin(products.groups.spread(beginning.weights), examples, bench.generator)
        for step in range(settings.steps):
            centre, asked = self.ask(centre, pairs, bench.generator)
            utilities = products.utilities(asked.candidates, asked.wanted)
            length = evolution.step_length_of(settings, step)
            centre = evolution.tell(centre, settings, length, asked, utilities)
        candidates = self._candidates(products, beginning, centre)
        chosen, utility = choose(products, {name: candidates[name] for name in BY_WORTH[:kept] if name in candidates})
        detail = f"{settings.steps} steps of {pairs} pairs from {beginning.name}"
        detail += "" if chosen == AVERAGE else f"; chosen: {chosen}"
        return products.composition(candidates[chosen], utility, detail)

    def evaluations_before(self, experts: int) -> int:
        """Return how many whole evaluations the start takes at least.

        Args:
            experts: Number of experts n.

        >>> [EvolutionStrategyRow(start=start).evaluations_before(10) for start in ("greedy_soup", "product_mean")]
        [19, 0]
        """
        least: dict[Start, int] = {"greedy_soup": 2 * experts - 1, "product_mean": 0}
        return least.get(self.start, experts)

    def ask(self, centre: Centre, pairs: int, generator: torch.Generator) -> tuple[Centre, Pairs]:
        """Draw the pairs of a step, and what each is asked; see `evolution.ask`.

        Args:
            centre: What is remembered; not changed.
            pairs: Number of pairs, >= 1.
            generator: Source of the random numbers.
        """
        return evolution.ask(centre, self.settings, pairs, generator)

    def _beginning(self, bench: Bench, products: ProductBench) -> Beginning:
        names = bench.names
        least = self.evaluations_before(len(names))
        if self.start == "best_sum":
            return self._best_sum(bench, products)
        if self.start == "product_mean":
            return Beginning(torch.full((len(names),), 1 / len(names)), "the mean of all products", None, least)
        if self.start == "best_expert":
            best = best_of(products.alone())
            return Beginning(torch.eye(len(names))[best], names[best], best, least)
        soup = products.soup()
        mixed = ", ".join(names[place] for place in soup.places)
        return Beginning(soup.weights, f"the mean of the products of {mixed}", best_of(soup.alone), least)

    def _best_sum(self, bench: Bench, products: ProductBench) -> Beginning:
        """Find what `swarm adapt` begins with, of as many sums as leave the budget its steps and its choice."""
        assert bench.budget is not None
        names, examples = bench.names, len(bench.examples)
        count, spread = len(names), products.groups.spread
        chosen_among = len(BY_WORTH) if self.chooses else 1
        held = (bench.budget - self.settings.least(examples)) // examples - count
        settling = count + 1  # whole evaluations: the experts by the objective, and the guide's best
        settles = self.guided and settling * examples <= SHARE_SETTLED * bench.budget
        settles &= held - settling - chosen_among >= count  # the mean and the soup come before
        before = count + settling * settles
        held -= settling * settles
        # A small budget goes to the soup, and what that leaves to the choice.
        affordable = held - chosen_among if held - chosen_among >= count else max(0, min(held - 1, count - 1))
        alone = products.alone()
        starts = starts_of(names, alone, lambda weights: products.utilities(spread(weights)), affordable)
        if not settles:
            return Beginning(starts.best.weights, starts.best.name, best_of(alone), before + starts.asked)
        by_objective = products.worths(spread(torch.eye(count)))
        best = settle(starts, names, alone, by_objective, lambda weights: products.worth(spread(weights)))
        return Beginning(best.weights, best.name, best_of(by_objective), before + starts.asked)

    def _candidates(self, products: ProductBench, beginning: Beginning, centre: Centre) -> dict[str, Tensor]:
        """Return what may be handed over, by name [C]."""
        count = len(beginning.weights)
        simple = {MEAN: torch.full((count,), 1 / count), START: beginning.weights}
        if beginning.best is not None:
            simple[BEST_EXPERT] = torch.eye(count)[beginning.best]
        spread = {name: products.groups.spread(weights) for name, weights in simple.items()}
        found = {LAST_CENTRE: centre.position.float(), AVERAGE: evolution.found(centre, self.settings)}
        return {**spread, **found}


def choose(products: ProductBench, candidates: Mapping[str, Tensor]) -> tuple[str, float]:
    """Return the name and utility of what the objective holds highest on the validation split, the simplest of equals.

    Args:
        products: Asks them.
        candidates: Coefficients by name [C], names of `CHOICES`.
    """
    return products.choose({name: candidates[name] for name in CHOICES if name in candidates})
