"""What a search has found and exported as a folder, to be asked like a model: `swarm_lightning.load(folder)`."""

from pathlib import Path
from typing import Any

from swarm_lightning.evaluation.mixtures.mixed_model import MixedModel, load_mixture
from swarm_lightning.evaluation.systems.answering_system import AnsweringSystem, load_system
from swarm_lightning.experts.export.exported_file import GRAPH_FILE


def load(folder: str | Path, **settings: Any) -> MixedModel | AnsweringSystem:
    """Load a mixture of models, or a system of models that answer along a graph.

    Args:
        folder: With `swarm.json` or `graph.json`, such as `best_expert` in a run folder.
        settings: Of `load_mixture` and `load_system`: `device`, `trust_remote_code` and `engine`.

    Raises:
        InputError: If the folder holds neither, or a model is gone or can't be loaded.
    """
    if (Path(folder).expanduser() / GRAPH_FILE).is_file():
        return load_system(folder, **settings)
    return load_mixture(folder, **settings)
