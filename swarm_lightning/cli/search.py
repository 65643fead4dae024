"""A search in one line of Python: `swarm_lightning.search(...)`, with the files of `swarm fit`."""

from pathlib import Path
from typing import Any

import lightning as L

from swarm_lightning import objectives
from swarm_lightning.callbacks.defaults import default_callbacks
from swarm_lightning.cli.found import Found
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from swarm_lightning.runs.run_folder import claim_run_folder
from swarm_lightning.search.model_swarm import ModelSwarm

# Settings of the data; all others are those of ModelSwarm.
OF_DATA = {
    "test_dataset", "subset", "validation_split", "test_split", "columns", "validation_size", "test_size",
}  # fmt: skip


def run_search(
    base: str | None = None,
    *,
    experts: str | list[str],
    data: dict[str, str] | str,
    objective: objectives.Objective | str | None = None,
    folder: str | Path = "runs/search",
    max_steps: int = 50,
    seed: int = 0,
    progress: bool = True,
    **settings: Any,
) -> Found:
    """Search like `swarm fit` with its default callbacks.

    Args:
        base: Folder or hub id of the base model.
        experts: Folder of adapters or full checkpoints, or a list of folders or hub ids.
        data: The dataset; see `SwarmData`.
        objective: An objective, or the name of one with its default settings; None: the one that fits the data.
        folder: Folder in which the run creates its own: `version_0`, `version_1`, ...
        max_steps: Maximum number of iterations, >= 1.
        seed: Seed of the search, >= 0.
        progress: Whether to show the progress.
        settings: Further settings of `ModelSwarm` (`particles`, `engine`, ...) and of `SwarmData` (`columns`,
            `validation_size`, ...).

    Returns:
        The result: summary, history, the best expert, and how to plot, export and upload it.

    Raises:
        InputError: If an argument can't be used.
    """
    asked = objective_named(objective) if isinstance(objective, str) else objective
    of_data = {name: value for name, value in settings.items() if name in OF_DATA}
    others = {name: value for name, value in settings.items() if name not in OF_DATA}
    L.seed_everything(seed, verbose=False)
    module = ModelSwarm(base, experts=experts, objective=asked, **others)
    splits = SwarmData(data, **of_data)
    splits.prepare_data()
    run = claim_run_folder(folder)
    trainer = SwarmTrainer(
        max_steps=max_steps,
        default_root_dir=str(run),
        callbacks=default_callbacks(progress),
        logger=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=progress,
        enable_model_summary=False,
    )
    trainer.fit(module, splits)
    return Found(run, module)


def objective_named(name: str) -> objectives.Objective:
    """Return the objective of a name, with its default settings.

    Args:
        name: Name of its class, such as `ExactMatch`.

    Raises:
        InputError: If there is no such objective.
    """
    class_ = getattr(objectives, name, None)
    if not isinstance(class_, type) or not hasattr(class_, "evaluate"):
        raise InputError(f"Expected the name of an objective, such as ExactMatch, but got {name!r}.")
    made: objectives.Objective = class_()
    return made
