"""The particle swarm: pure tensor mathematics on positions [N, D], importing torch only.

Read `rules.py` for one iteration of the method, `population.py` for how a search begins, `optimizer.py` for the
`torch.optim.Optimizer` that holds the state, `step_length.py` for the schedule. Source: arXiv:2410.11163.
"""

from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.step_length import StepLengthDecay

__all__ = ["ParticleSwarm", "StepLengthDecay"]
