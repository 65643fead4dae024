"""The search as a LightningModule: one training step is one iteration of the swarm.

The room can be called: `swarm_lightning.search(...)` is `swarm_lightning.run_search(...)`, a search in one line.
"""

import sys
from types import ModuleType
from typing import Any

from swarm_lightning.search.model_swarm import ModelSwarm

__all__ = ["ModelSwarm"]


class _CallableRoom(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Search; see `swarm_lightning.run_search`."""
        front_door = sys.modules[__name__.partition(".")[0]]  # where rooms above this one are found
        return front_door.run_search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableRoom  # as Python's reference allows for modules
