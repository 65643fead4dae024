"""The model swarm itself, by the ordinary search with the config's settings; what it asks is everybody's budget."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from swarm_lightning.baselines.bench import Bench, coefficients_text
from swarm_lightning.baselines.method import Composition, Kind
from swarm_lightning.data.examples import Example

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm


class SwarmRow:
    """Runs the search that `swarm fit` runs."""

    title = "model swarm"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Search, and take the best found expert."""
        assert bench.search is not None
        bench.search(bench.seed)
        return composition_of(bench.module)


def composition_of(module: "ModelSwarm") -> Composition:
    """Return what a search has found, and let go of its swarm.

    Args:
        module: The search, which has ended.
    """
    optimizer = module.particle_swarm
    space, found = optimizer.space, optimizer.found.detach().clone()
    detail = f"{optimizer.found_name} after {int(optimizer.swarm.iterations)} iterations"
    shares = space.coefficients(found)
    if len(shares):
        detail += f": {coefficients_text(module.pool.names, shares.mean(dim=1))}"
    utility = module.result().validation[1].utility
    # A search that was interrupted and resumed has counted and timed its earlier parts too.
    state = module.state
    evaluations, passes, seconds = state.evaluations, state.forward_passes, state.seconds
    if module.form == module.pool.form:
        vector = space.vector(found)[:].detach().cpu().clone()
        module.release_swarm()
        return Composition(utility, detail, vector, evaluations=evaluations, forward_passes=passes, seconds=seconds)
    asked, adapter = optimizer.found_asked, module.adapter_at(found)
    candidate = asked.clone() if isinstance(asked, Tensor) else asked
    module.release_swarm()

    def scores(examples: Sequence[Example]) -> Tensor:
        return module.evaluator.evaluate([candidate], examples, whole_replies=True).scores[0]

    return Composition(
        utility,
        detail,
        scores=scores,
        adapter=adapter,
        evaluations=evaluations,
        forward_passes=passes,
        seconds=seconds,
    )
