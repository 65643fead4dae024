"""What a search has found and exported as a folder, to be asked like a model: `swarm_lightning.load(folder)`."""

from pathlib import Path
from typing import Any

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.mixtures.mixed_model import MixedModel, load_mixture
from swarm_lightning.evaluation.systems.answering_system import AnsweringSystem, load_system
from swarm_lightning.experts.export.exported_file import GRAPH_FILE, MIXTURE_FILE


def load(folder: str | Path, **settings: Any) -> MixedModel | AnsweringSystem:
    """Load a mixture of models, or a system of models that answer along a graph.

    Args:
        folder: With `swarm.json` or `graph.json`, such as `best_expert` in a run folder.
        settings: Of `load_mixture` and `load_system`: `device`, `trust_remote_code` and `engine`.

    Raises:
        InputError: If the folder holds neither, or a model is gone or can't be loaded.
    """
    place = Path(folder).expanduser()
    if (place / GRAPH_FILE).is_file():
        return load_system(place, **settings)
    if (place / MIXTURE_FILE).is_file():
        return load_mixture(place, **settings)
    raise InputError(
        f"Expected a folder with {MIXTURE_FILE} or {GRAPH_FILE}, but {str(folder)!r} holds neither. Name what a search "
        "with model.mixture or model.graphs has exported, `best_expert` in its run folder for example. An adapter or a "
        "model is loaded by peft or transformers."
    )
