"""The model swarm itself, by the ordinary search with the config's settings; what it asks is everybody's budget."""

from swarm_lightning.baselines.bench import Bench, coefficients_text
from swarm_lightning.baselines.method import Composition, Kind


class SwarmRow:
    """Runs the search that `swarm fit` runs."""

    title = "model swarm"
    kind: Kind = "search"
    least = 2

    def compose(self, bench: Bench) -> Composition:
        """Search, and take the best found expert."""
        assert bench.search is not None
        bench.search(bench.seed)
        module = bench.module
        swarm = module.swarm
        detail = f"particle {int(swarm.best_particle)} after {int(swarm.iterations)} iterations"
        space = module.particle_swarm.space
        if space.coefficients(swarm.global_best):
            detail += f": {coefficients_text(module.pool.names, swarm.global_best)}"
        utility, vector = float(swarm.global_best_utility), space.vector(swarm.global_best)[:]
        vector = vector.detach().cpu().clone()
        module.release_swarm()
        # A search that was interrupted and resumed has counted and timed its earlier parts too.
        return Composition(utility, detail, vector, evaluations=module.state.evaluations, seconds=module.state.seconds)
