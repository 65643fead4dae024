"""The search as a LightningModule: one training step is one iteration of the swarm."""

from swarm_lightning.search.model_swarm import ModelSwarm

__all__ = ["ModelSwarm"]
