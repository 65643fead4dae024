"""Every search algorithm has the procedure of the nearest class that it derives from, and others are refused."""

from collections.abc import Iterable

import pytest
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.procedures import procedure_of
from swarm_lightning.search.procedures.evolution import EvolutionProcedure
from swarm_lightning.search.procedures.graphs import GraphsProcedure
from swarm_lightning.search.procedures.particles import Procedure
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.search_optimizer import SearchOptimizer


class OwnSwarm(ParticleSwarm):
    """A particle swarm of one's own."""


class Still(SearchOptimizer):
    """An optimizer that is none of those that a search knows."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.1) -> None:
        super().__init__(params, lr, {})


@pytest.mark.parametrize(
    ("optimizer", "procedure"),
    [
        (ParticleSwarm, Procedure),
        (OwnSwarm, Procedure),
        (HeterogeneousSwarm, GraphsProcedure),
        (EvolutionStrategy, EvolutionProcedure),
    ],
)
def test_an_optimizer_has_the_procedure_of_what_it_derives_from(
    optimizer: type[SearchOptimizer], procedure: type[Procedure]
) -> None:
    search = ModelSwarm(experts="nowhere")
    made = optimizer([search.positions.new_zeros(4, 2)])  # type: ignore[call-arg]
    assert type(procedure_of(made, search)) is procedure


def test_an_optimizer_without_a_procedure_is_refused_when_the_search_is_made() -> None:
    with pytest.raises(InputError, match="model.optimizer to be one of .*ParticleSwarm.*, but got Still"):
        ModelSwarm(experts="nowhere", optimizer=Still)
