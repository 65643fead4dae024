"""The command `swarm`: fit, validate, test, predict and export, driven by a config file."""

from swarm_lightning.cli.main import main

__all__ = ["main"]
