"""Merging followed by an evolution strategy: greedy soup of products, then one coefficient per expert and module.

Start and strategy follow the objective's smooth guide. The soup takes n + (n - 1) whole evaluations; what is left of
the budget is shared out to pairs of candidates that are asked a few examples each (`swarm/evolution.py`). Absent for
full checkpoints, and where the objective has no such guide. Related: merging followed by evolution,
arXiv:2606.28373.
"""

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.baselines.product_bench import ProductBench
from swarm_lightning.baselines.soups import greedy_soup, soup_of
from swarm_lightning.swarm import evolution
from swarm_lightning.swarm.evolution import EvolutionSettings


class EvolutionStrategyRow:
    """Moves the coefficients of the experts' products from their greedy soup."""

    title = "evolution strategy"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Spend the budget on steps of equal cost.

        Raises:
            Absent: If the experts are full checkpoints, the objective has no smooth guide, or the budget is too small
                for the soup and one pair a step.
        """
        assert bench.budget is not None
        settings = EvolutionSettings()
        products = ProductBench(bench, "greedy soup", "module", guided=True)
        alone = torch.eye(len(bench.names))

        def utility_of(soup: Tensor) -> float:
            return float(products.utilities(products.groups.spread(soup[None]))[0])

        examples, before = len(bench.examples), (2 * len(bench.names) - 1) * len(bench.examples)
        # One whole evaluation by the objective is kept for what is found.
        try:
            pairs = settings.pairs(bench.budget - before - examples, examples)
        except ValueError as error:
            raise Absent(f"the budget is too small for the greedy soup and the strategy: {error}") from error
        chosen, _ = greedy_soup(alone, products.utilities(products.groups.spread(alone)), utility_of)
        centre = evolution.begin(products.groups.spread(soup_of(alone, chosen)), examples, bench.generator)
        for step in range(settings.steps):
            centre, asked = evolution.ask(centre, settings, pairs, bench.generator)
            utilities = products.utilities(asked.candidates, asked.wanted)
            length = evolution.step_length_of(settings, step)
            centre = evolution.tell(centre, settings, length, asked, utilities)
        found = evolution.found(centre, settings)
        names = ", ".join(bench.names[place] for place in chosen)
        detail = f"{settings.steps} steps of {pairs} pairs from the mean of the products of {names}"
        return products.composition(found, products.worth(found), detail)
