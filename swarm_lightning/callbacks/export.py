"""Exports what the search found, as adapters or full checkpoints like the experts, with a model card.

Writing the folder is the experts' part; this callback knows when, what and where. Where nothing writes what a search
finds, because its space makes candidates of a form of its own, it says so once, and refuses what is asked of an export.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from swarm_lightning.callbacks.logged_result import check_takes_artifacts, log_folder
from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.checkpoint import SHARD
from swarm_lightning.runs.mixture_folder import make_testable
from swarm_lightning.runs.run_folder import name_of_export
from swarm_lightning.search.export import check_particle
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.writers import said_of_cut, said_of_form
from swarm_lightning.shown import say


class ExportBest(L.Callback):
    """Writes the best found expert to `best_expert/`, and chosen personal bests to `particle_<i>/`."""

    def __init__(
        self,
        particles: Sequence[int] = (),
        max_shard_size: str = SHARD,
        export_rank: int | None = None,
        log_artifact: bool = False,
    ) -> None:
        """Choose what is exported beside the best found expert.

        Args:
            particles: Further particles whose personal bests are exported, counted from 0.
            max_shard_size: Maximum size of a weight file of a full checkpoint, such as `2GB`.
            export_rank: Rank to which sums of products (model.coefficients) are reduced by truncated SVD; null for the
                full rank, the summed rank of all experts with a nonzero coefficient.
            log_artifact: Whether to upload the best expert to Weights & Biases or MLflow as an artifact.

        Raises:
            InputError: If the size can't be read.
        """
        if re.fullmatch(r"[1-9][0-9]*([KMGT]i?B)", max_shard_size) is None:
            raise InputError(
                f"Expected export_best.max_shard_size to be a size such as 2GB or 500MB, but got {max_shard_size!r}."
            )
        self.particles = list(particles)
        self.max_shard_size = max_shard_size
        self.export_rank = export_rank
        self.log_artifact = log_artifact
        # Whether it says where the best found expert lies.
        self.tells = True

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse particles that do not exist, a rank that can't be exported with, and artifacts that nobody takes.

        Raises:
            InputError: If a particle or the rank is out of range, there are no products to cut, no logger keeps
                artifacts, or nothing can be exported of this search.
        """
        assert isinstance(pl_module, ModelSwarm)
        reason = said_of_form(pl_module.form)
        if reason is not None:
            self._check_nothing_is_wanted(reason)
            return
        pl_module.check_rank(self.export_rank)
        for particle in self.particles:
            check_particle(particle, pl_module.exportable)
        if self.log_artifact:
            check_takes_artifacts(trainer.loggers)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export when the search has ended, or had: Lightning calls no `on_train_end` where nothing is left to do."""
        assert isinstance(pl_module, ModelSwarm)
        result = pl_module.result(pl_module.held_back)  # scored by all ranks, if it was not
        test, whole = result.test, result.validation[1].utility
        rank, cut = self.export_rank, {}
        if rank is not None:
            cut = {particle: pl_module.utility_of_cut(rank, particle) for particle in (None, *self.particles)}
        if not trainer.is_global_zero or said_of_form(pl_module.form) is not None:
            return
        folder, size = Path(trainer.default_root_dir), self.max_shard_size
        # A finished search that is resumed and ends again writes the same folders once more.
        for particle in (*self.particles, None):
            path = pl_module.export(
                folder / name_of_export(particle),
                particle,
                test=test if particle is None else (),
                overwrite=True,
                max_shard_size=size,
                rank=rank,
                utility_of_cut=cut.get(particle),
            )
            make_testable(path, folder, pl_module.settings, partial(pl_module.checkpoint, particle))
        if self.log_artifact:
            log_folder(trainer.loggers, path)
        if rank is not None:
            say(said_of_cut(rank, whole, cut[None]))
        if self.tells:
            say(f"Best expert: {path}")

    def _check_nothing_is_wanted(self, reason: str) -> None:
        """Refuse what is asked of an export that there will not be, or say that there will be none."""
        wanted = {
            "particles": bool(self.particles),
            "export_rank": self.export_rank is not None,
            "log_artifact": self.log_artifact,
        }
        named = [f"no export_best.{name}" for name, is_wanted in wanted.items() if is_wanted]
        if named:
            raise InputError(
                f"Expected {' and '.join(named)}, because {reason}. Leave out what is asked of an export: the search "
                "runs, and writes none."
            )
        if self.tells:
            rank_zero_info(f"Nothing will be exported, because {reason}.")
