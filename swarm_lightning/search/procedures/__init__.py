"""What a search does before, between and after the steps of its optimizer, which knows positions and utilities alone.

There is a file for each kind of optimizer; another one is a file here, and a line below.
"""

from swarm_lightning.errors import InputError
from swarm_lightning.search.export import ExportingSearch
from swarm_lightning.search.procedures.evolution import EvolutionProcedure
from swarm_lightning.search.procedures.graphs import GraphsProcedure
from swarm_lightning.search.procedures.particles import Procedure
from swarm_lightning.swarm.centre_search import CentreSearch
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer

# The first that an optimizer is one of: a class stands before those that it derives from.
PROCEDURES: dict[type[SearchOptimizer], type[Procedure]] = {
    CentreSearch: EvolutionProcedure,
    HeterogeneousSwarm: GraphsProcedure,
    ParticleSwarm: Procedure,
}


def procedure_of(optimizer: SearchOptimizer, search: ExportingSearch) -> Procedure:
    """Return what a search does besides the steps of its optimizer.

    Args:
        optimizer: What does the steps.
        search: What is searched with.

    Raises:
        InputError: If there is none for it.
    """
    for kind, procedure in PROCEDURES.items():
        if isinstance(optimizer, kind):
            return procedure(search)
    raise InputError(
        f"Expected model.optimizer to be one of {', '.join(kind.__name__ for kind in PROCEDURES)} or derived from "
        f"one of them, but got {type(optimizer).__name__}, "
        "and a search does not know what to do before and after its steps."
    )
