"""Merging followed by an evolution strategy: experts fitted anew, then one coefficient per expert and module.

Start and strategy follow the objective's smooth guide. The start is the best of the experts, their mean, their greedy
soup, and these two with experts fitted anew (`regression_mean.py`): 2 n + 6 whole evaluations; what is left of the
budget is shared out to pairs of candidates that are asked a few examples each (`swarm/evolution.py`). In the end
the objective chooses among what the steps have found and what takes none, as `swarm fit` does. Absent for full
checkpoints, and where the objective has no such guide. Related: merging followed by evolution, arXiv:2606.28373.
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
from swarm_lightning.swarm.evolution import REFITTED_UNIT, Centre, EvolutionSettings, Pairs
from swarm_lightning.swarm.evolution_strategy import AVERAGE, CHOICES
from swarm_lightning.swarm.rules import best_of

Start = Literal["refitted", "greedy_soup", "product_mean", "best_expert"]
# What is chosen among, from what matters most on: a small budget holds the first ones only.
BY_WORTH = (AVERAGE, START, BEST_EXPERT, MEAN, LAST_CENTRE)


class Beginning(NamedTuple):
    """Where the centre begins.

    Attributes:
        weights: How much of each expert [n].
        name: What that is.
        best: Place of the best single expert; None where the experts were not asked.
        refitted: Whether it is the sum of the experts fitted anew; the weights are those of its fit.
    """

    weights: Tensor
    name: str
    best: int | None
    refitted: bool = False


@dataclass
class EvolutionStrategyRow:
    """Moves the coefficients of the experts' products from a simple sum of them.

    Attributes:
        title: What it is called in the table.
        granularity: What of every expert has a coefficient of its own.
        start: Where the centre begins: at the best of the experts, their mean, their greedy soup, and these two with
            experts fitted anew; at the greedy soup of the products, their mean, or the best single expert. What is
            asked to find it counts.
        guided: Whether start and steps follow the objective's smooth guide, and not the objective itself.
        chooses: Whether the objective chooses in the end among the mean of the last centres, the start, the best
            expert, the mean of the experts and the last centre, as many of them as the budget holds beside a pair a
            step; the first is handed over else.
        settings: Of the strategy.
    """

    title: str = "evolution strategy"
    granularity: Granularity = "module"
    start: Start = "refitted"
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
        refits = self.start == "refitted"
        products = ProductBench(bench, "greedy soup", self.granularity, guided=self.guided, refits=refits)
        examples = len(bench.examples)
        before = self.evaluations_before(products, (bench.budget - settings.least(examples)) // examples - 1)
        left = bench.budget - before * examples
        # Whole evaluations by the objective that are kept for the choice; one of what is found in any case.
        held = (left - settings.least(examples)) // examples if self.chooses else 1
        kept = max(1, min(held, len(BY_WORTH)))
        try:
            pairs = settings.pairs(left - kept * examples, examples)
        except ValueError as error:
            start = "fit of the experts" if refits else self.start.replace("_", " ")
            raise Absent(f"the budget is too small for the {start} and the strategy: {error}") from error
        beginning = self._beginning(bench, products, before)
        centre = self._centre(products, beginning, examples, bench.generator)
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

    def evaluations_before(self, products: ProductBench, held: int) -> int:
        """Return how many whole evaluations the start may take; of `refitted`, the first ones where not all are held.

        Args:
            products: Of the experts.
            held: How many the budget holds beside a pair a step and a choice.
        """
        experts = len(products.products.names)
        whole = {"greedy_soup": 2 * experts - 1, "product_mean": 0, "best_expert": experts}
        return max(experts, min(held, products.sums_of_start)) if self.start == "refitted" else whole[self.start]

    def ask(self, centre: Centre, pairs: int, generator: torch.Generator) -> tuple[Centre, Pairs]:
        """Draw the pairs of a step, and what each is asked; see `evolution.ask`.

        Args:
            centre: What is remembered; not changed.
            pairs: Number of pairs, >= 1.
            generator: Source of the random numbers.
        """
        return evolution.ask(centre, self.settings, pairs, generator)

    def _centre(
        self, products: ProductBench, beginning: Beginning, examples: int, generator: torch.Generator
    ) -> Centre:
        """Put the centre where it begins; of experts that have two versions, only one is moved."""
        position = self._start(products, beginning)
        if products.products.versions == 1:
            return evolution.begin(position, examples, generator)
        second = products.groups.refitted.bool()
        unit = REFITTED_UNIT if beginning.refitted else 1.0
        return evolution.begin(position, examples, generator, second if beginning.refitted else ~second, unit)

    def _start(self, products: ProductBench, beginning: Beginning) -> Tensor:
        return products.groups.refitted if beginning.refitted else products.groups.spread(beginning.weights)

    def _beginning(self, bench: Bench, products: ProductBench, held: int) -> Beginning:
        names = bench.names
        if self.start == "refitted":
            starts = products.start(names, held)
            start, single = starts.best, int(starts.tried[0].weights.argmax())
            return Beginning(start.weights, f"the {start.name}", single, start.refitted)
        if self.start == "product_mean":
            return Beginning(torch.full((len(names),), 1 / len(names)), "the mean of all products", None)
        if self.start == "best_expert":
            best = best_of(products.alone())
            return Beginning(torch.eye(len(names))[best], names[best], best)
        soup = products.soup()
        mixed = ", ".join(names[place] for place in soup.places)
        return Beginning(soup.weights, f"the mean of the products of {mixed}", best_of(soup.alone))

    def _candidates(self, products: ProductBench, beginning: Beginning, centre: Centre) -> dict[str, Tensor]:
        """Return what may be handed over, by name [C]."""
        count = len(beginning.weights)
        simple = {MEAN: torch.full((count,), 1 / count), START: beginning.weights}
        if beginning.best is not None:
            simple[BEST_EXPERT] = torch.eye(count)[beginning.best]
        spread = {name: products.groups.spread(weights) for name, weights in simple.items()}
        spread[START] = self._start(products, beginning)
        found = {LAST_CENTRE: centre.position.float(), AVERAGE: evolution.found(centre, self.settings)}
        return {**spread, **found}


def choose(products: ProductBench, candidates: Mapping[str, Tensor]) -> tuple[str, float]:
    """Return the name and utility of what the objective holds highest on the validation split, the simplest of equals.

    Args:
        products: Asks them.
        candidates: Coefficients by name [C], names of `CHOICES`.
    """
    return products.choose({name: candidates[name] for name in CHOICES if name in candidates})
