"""swarm-lightning: adapt language models without gradients, with a particle swarm over experts.

The names below are loaded when they are first used, so importing the package costs next to nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOMS = {
    "ModelSwarm": "swarm_lightning.search",
    "ParticleSwarm": "swarm_lightning.swarm",
    "StepLengthDecay": "swarm_lightning.swarm",
    "SwarmData": "swarm_lightning.data.module",
    "adapt": "swarm_lightning.cli.adapt",
    "Custom": "swarm_lightning.objectives",
    "ExactMatch": "swarm_lightning.objectives",
    "JudgeRating": "swarm_lightning.objectives",
    "MultiTask": "swarm_lightning.objectives",
    "MultipleChoice": "swarm_lightning.objectives",
    "RewardModel": "swarm_lightning.objectives",
    "read_run": "swarm_lightning.report.notebook",
    "Safety": "swarm_lightning.objectives",
}

__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
