"""What a search does before, between and after the steps of a swarm of graphs of models."""

from collections.abc import Callable, Sequence

from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.search.measures import measure_models, names_of_models
from swarm_lightning.search.procedures.particles import Begun, Procedure
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm


class GraphsProcedure(Procedure):
    """What stands around the steps of a swarm of graphs of models."""

    @property
    def graphs(self) -> HeterogeneousSwarm:
        """What does the steps."""
        swarm = self.search.particle_swarm
        assert isinstance(swarm, HeterogeneousSwarm)
        return swarm

    def metric_names(self) -> list[str]:
        """Return the names of what `measure` measures."""
        return super().metric_names() + names_of_models(len(self.search.pool.names))

    def begin(self, examples: Sequence[Example], score: Callable[[], Tensor]) -> Begun:
        """Ask the experts alone, which is what a search is compared with, and the first assignments of them."""
        search, systems = self.search, self.graphs.graphs
        alone = [systems.expert(model) for model in range(systems.nodes)]
        utilities = search.ask_vectors(alone, examples, search.followed, range(len(alone))).utilities
        self.graphs.begin_models(utilities, score)
        return super().begin(examples, score)

    def measure(self, examples: Sequence[Example]) -> dict[str, float]:
        """Measure the iteration that has just ended, the best system and the models included."""
        state = self.search.state
        assigned = state.evaluation if not self.graphs.asks_particles else state.besides
        return super().measure(examples) | measure_models(self.graphs, assigned)
