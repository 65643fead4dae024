"""Merging followed by an evolution strategy: greedy soup of products, then one coefficient per expert and module.

Start and strategy follow the objective's smooth guide. The soup takes n + (n - 1) whole evaluations; what is left of
the budget is shared out to pairs of candidates that are asked a few examples each (`swarm/evolution.py`). Absent for
full checkpoints, and where the objective has no such guide. Related: merging followed by evolution,
arXiv:2606.28373.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.soups import greedy_soup, soup_of
from swarm_lightning.experts.products.products import Granularity
from swarm_lightning.swarm import evolution
from swarm_lightning.swarm.evolution import Centre, EvolutionSettings, Pairs
from swarm_lightning.swarm.rules import best_of

Start = Literal["greedy_soup", "product_mean", "best_expert"]


@dataclass
class EvolutionStrategyRow:
    """Moves the coefficients of the experts' products from a simple sum of them.

    Attributes:
        title: What it is called in the table.
        granularity: What of every expert has a coefficient of its own.
        start: Where the centre begins: at the greedy soup of the products, their mean, or the best single expert. What
            is asked to find it counts.
        guided: Whether start and steps follow the objective's smooth guide, and not the objective itself.
        settings: Of the strategy.
    """

    title: str = "evolution strategy"
    granularity: Granularity = "module"
    start: Start = "greedy_soup"
    guided: bool = True
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
        before = self.evaluations_before(len(bench.names)) * examples
        # One whole evaluation by the objective is kept for what is found.
        try:
            pairs = settings.pairs(bench.budget - before - examples, examples)
        except ValueError as error:
            start = self.start.replace("_", " ")
            raise Absent(f"the budget is too small for the {start} and the strategy: {error}") from error
        weights, name = self._beginning(bench, products)
        centre = evolution.begin(products.groups.spread(weights), examples, bench.generator)
        for step in range(settings.steps):
            centre, asked = self.ask(centre, pairs, bench.generator)
            utilities = products.utilities(asked.candidates, asked.wanted)
            length = evolution.step_length_of(settings, step)
            centre = evolution.tell(centre, settings, length, asked, utilities)
        found = evolution.found(centre, settings)
        detail = f"{settings.steps} steps of {pairs} pairs from {name}"
        return products.composition(found, products.worth(found), detail)

    def evaluations_before(self, experts: int) -> int:
        """Return how many whole evaluations the start takes.

        Args:
            experts: Number of experts n.

        >>> [EvolutionStrategyRow(start=start).evaluations_before(10) for start in ("greedy_soup", "product_mean")]
        [19, 0]
        """
        return {"greedy_soup": 2 * experts - 1, "product_mean": 0, "best_expert": experts}[self.start]

    def ask(self, centre: Centre, pairs: int, generator: torch.Generator) -> tuple[Centre, Pairs]:
        """Draw the pairs of a step, and what each is asked; see `evolution.ask`.

        Args:
            centre: What is remembered; not changed.
            pairs: Number of pairs, >= 1.
            generator: Source of the random numbers.
        """
        return evolution.ask(centre, self.settings, pairs, generator)

    def _beginning(self, bench: Bench, products: ProductBench) -> tuple[Tensor, str]:
        names = bench.names
        if self.start == "product_mean":
            return torch.full((len(names),), 1 / len(names)), "the mean of all products"
        alone = torch.eye(len(names))

        def utility_of(soup: Tensor) -> float:
            return float(products.utilities(products.groups.spread(soup[None]))[0])

        utilities = products.utilities(products.groups.spread(alone))
        if self.start == "best_expert":
            best = best_of(utilities)
            return alone[best], names[best]
        chosen, _ = greedy_soup(alone, utilities, utility_of)
        mixed = ", ".join(names[place] for place in chosen)
        return soup_of(alone, chosen), f"the mean of the products of {mixed}"
