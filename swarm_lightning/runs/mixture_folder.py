"""Makes the folder of a mixture one that `swarm test` and `swarm predict` take: with a config and a checkpoint.

A token swarm is a few numbers per particle, so its checkpoint goes along: what was asked and found is there, wherever
the run folder is. What the folder stands for is the particle that was exported.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from swarm_lightning.experts.export.exported_file import lasting
from swarm_lightning.files import storage_errors, write_whole
from swarm_lightning.paths import DEMO_PREFIX
from swarm_lightning.runs.run_folder import CHECKPOINTS, CONFIG, LAST
from swarm_lightning.search.settings import SearchSettings


def make_testable(
    folder: Path, run: Path, settings: SearchSettings, checkpoint: Callable[[], Mapping[str, Any]]
) -> None:
    """Write config and checkpoint into the folder of a mixture; of any other export, nothing.

    Args:
        folder: The exported one.
        run: The run folder, whose config says what was asked; without one, the data has to be named by the user.
        settings: Of the search.
        checkpoint: Makes the checkpoint of what was exported; see `ModelSwarm.checkpoint`.
    """
    if settings.mixture is None:
        return
    path = run / CONFIG
    config: dict[str, Any] = {}
    with storage_errors(folder):
        if path.is_file():
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        model = config.setdefault("model", {"mixture": settings.mixture, "particles": settings.particles})
        model |= {"draws": settings.draws, "dtype": settings.dtype}
        model["base"] = None if settings.base is None else lasting(settings.base)
        experts = [settings.experts] if isinstance(settings.experts, str) else settings.experts
        model["experts"] = [lasting(expert) for expert in experts]
        if "data" in config:
            config["data"] = {key: _lasting(value) for key, value in config["data"].items()}
        write_whole(folder / CONFIG, yaml.safe_dump(config, sort_keys=False))
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        torch.save(checkpoint(), folder / CHECKPOINTS / LAST)


def _lasting(value: Any) -> Any:
    """Return a path of data from wherever it is read; anything else as it is."""
    if isinstance(value, dict):
        return {key: _lasting(part) for key, part in value.items()}
    if isinstance(value, str) and not value.startswith(DEMO_PREFIX) and Path(value).expanduser().exists():
        return os.path.abspath(Path(value).expanduser())
    return value
