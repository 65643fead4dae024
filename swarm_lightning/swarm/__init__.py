"""The particle swarm: pure tensor mathematics on positions [N, D], importing torch only.

Read `rules.py` for one iteration of the method, `ask_tell.py` for its two halves, `population.py` for how a search
begins, `space.py` for what a position may mean, `optimizer.py` for the `torch.optim.Optimizer` that holds the state,
`step_length.py` for the schedule. Source: arXiv:2410.11163. Beside it stands an evolution strategy in the same spaces:
`evolution.py`, and `evolution_strategy.py` for its optimizer; CMA-ES (`cma_es.py`); and a search of graphs of models
(arXiv:2502.04510): `graphs.py`, `contributions.py`, and `heterogeneous_swarm.py` for its optimizer.
"""

from swarm_lightning.swarm.cma_es import CmaEs
from swarm_lightning.swarm.evolution_strategy import EvolutionStrategy
from swarm_lightning.swarm.heterogeneous_swarm import HeterogeneousSwarm
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.step_length import StepLengthDecay

__all__ = ["CmaEs", "EvolutionStrategy", "HeterogeneousSwarm", "ParticleSwarm", "StepLengthDecay"]
