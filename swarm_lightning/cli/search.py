"""A search in one line of Python: `swarm_lightning.search(...)`, with the files of `swarm fit` and an object to see."""

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L

from swarm_lightning import objectives
from swarm_lightning.callbacks.defaults import default_callbacks
from swarm_lightning.callbacks.export import BEST_EXPERT
from swarm_lightning.cli.trainer import SwarmTrainer
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from swarm_lightning.runs.run_folder import LONG_HISTORY, SUMMARY, claim_run_folder
from swarm_lightning.search.model_swarm import ModelSwarm

if TYPE_CHECKING:
    import pandas

# Settings of the data; all others are those of ModelSwarm.
OF_DATA = {
    "test_dataset", "subset", "validation_split", "test_split", "columns", "validation_size", "test_size",
}  # fmt: skip


class Found:
    """What came out of a search.

    Attributes:
        folder: The run folder; see the guide to the commands for what is in it.
        module: The search.
    """

    def __init__(self, folder: Path, module: ModelSwarm) -> None:
        """Take a search that has ended.

        Args:
            folder: Its run folder.
            module: The search.
        """
        self.folder = folder
        self.module = module

    @property
    def summary(self) -> dict[str, Any]:
        """The scores before and after, the gain with its 95% interval, iterations and time, as in `summary.json`."""
        return dict(json.loads((self.folder / SUMMARY).read_text(encoding="utf-8")))

    @property
    def history(self) -> "pandas.DataFrame":
        """One row per iteration and particle."""
        import pandas

        return pandas.read_parquet(self.folder / LONG_HISTORY)

    @property
    def best(self) -> Path:
        """The folder of the best found expert, which `PeftModel.from_pretrained(base, best)` loads."""
        return self.folder / BEST_EXPERT

    def export(self, folder: str | Path, particle: int | None = None) -> Path:
        """Write the best found expert, or the personal best of a particle, with a model card.

        Args:
            folder: A new folder.
            particle: Whose personal best, counted from 0; None for the best found expert.

        Raises:
            InputError: If the folder exists, or there is no such particle.
        """
        if Path(folder).exists():
            raise InputError(f"Expected a new folder, but {str(folder)!r} exists. Choose another one.")
        return self.module.export(Path(folder), particle)

    def _repr_html_(self) -> str:
        """Return the table of scores for a notebook."""
        summary = self.summary
        splits = {name: summary[name] for name in ("validation", "test") if summary[name]}
        head = "".join(f"<th>{name} ({rows[0]['examples']})</th>" for name, rows in splits.items())
        body = ""
        for rows in zip(*splits.values(), strict=True):
            scores = "".join(f"<td>{row['utility']:.4f}</td>" for row in rows)
            body += f"<tr><td>{escape(rows[0]['name'])}</td><td>{escape(rows[0]['detail'])}</td>{scores}</tr>"
        place = escape(str(self.folder))
        return f"<table><tr><th></th><th>which</th>{head}</tr>{body}</table><p>Run folder: <code>{place}</code></p>"


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
    """Search, as `swarm fit` does with its default callbacks.

    Args:
        base: Folder or hub id of the base model.
        experts: Folder of adapters or full checkpoints, or a list of folders or hub ids.
        data: The dataset; see `SwarmData`.
        objective: What to ask: an objective, or the name of one for its default settings; None for what fits the data.
        folder: Where the run gets a folder of its own: `version_0`, `version_1`, ...
        max_steps: Iterations at most.
        seed: Of the whole search.
        progress: Whether the search shows how far it is.
        settings: Further ones of `ModelSwarm` (`particles`, `engine`, ...) and of `SwarmData` (`columns`,
            `validation_size`, ...).

    Returns:
        What came out.

    Raises:
        InputError: If anything that was given can't be used.
    """
    asked = _by_name(objective) if isinstance(objective, str) else objective
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


def _by_name(name: str) -> objectives.Objective:
    """Make the objective of a name, with its default settings."""
    class_ = getattr(objectives, name, None)
    if not isinstance(class_, type) or not hasattr(class_, "evaluate"):
        raise InputError(f"Expected the name of an objective, such as ExactMatch, but got {name!r}.")
    made: objectives.Objective = class_()
    return made
