"""Lightning's Trainer with the verbs it lacks: export, compare, score and plan."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import Strategy

from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.callbacks.export import ExportBest
from swarm_lightning.doors.lightning import runs_several_processes
from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.checkpoint import SHARD
from swarm_lightning.experts.export.hub import check_name, push_folder
from swarm_lightning.runs.mixture_folder import make_testable
from swarm_lightning.runs.run_folder import name_of_export
from swarm_lightning.search.export import check_particle
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.strategy import SwarmStrategy, external_launch
from swarm_lightning.search.writers import said_of_cut
from swarm_lightning.shown import say


class SwarmTrainer(L.Trainer):
    """Lightning's Trainer: how long the search runs, on what, and where its files go.

    Its methods are the subcommands of `swarm`, and their docstrings the help. Checkpoints are loaded as tensors and
    plain values: `weights_only` is on by default. Several ranks run under `SwarmStrategy`; if torchrun or srun started
    them, their number is taken from there.
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: str | Strategy = "auto",
        devices: list[int] | str | int = 1,
        num_nodes: int = 1,
        max_steps: int = -1,
        default_root_dir: str | Path | None = None,
        use_distributed_sampler: bool = False,
        **kwargs: Any,
    ) -> None:
        """Take the arguments of Lightning's Trainer, with different defaults for a few.

        Args:
            accelerator: The hardware that the ranks run on: `auto`, `gpu`, `cpu`, ...
            strategy: How several ranks work together; `auto` is `SwarmStrategy`.
            devices: Number of ranks per machine, or a list of GPUs.
            num_nodes: Number of machines.
            max_steps: Maximum number of iterations of the search, >= 1.
            default_root_dir: Folder in which every run creates its own folder, `version_<k>`.
            use_distributed_sampler: Must be off with several ranks: every rank holds the whole split.
            kwargs: All other arguments of Lightning's Trainer.

        Raises:
            InputError: If several ranks would each see only a part of the examples.
        """
        launch = external_launch()
        if launch is not None and devices in (1, "auto") and num_nodes == 1:
            devices, num_nodes = launch.processes, launch.nodes
        if strategy == "auto" and runs_several_processes(accelerator, devices, num_nodes):
            strategy = SwarmStrategy()
        if use_distributed_sampler and isinstance(strategy, SwarmStrategy):
            raise InputError(
                "Expected use_distributed_sampler to be off with several ranks, but it is on: each rank would see only "
                "a part of the examples. Leave it out; the work is divided among the ranks anyway."
            )
        self._arguments = {
            "accelerator": accelerator,
            "devices": devices,
            "num_nodes": num_nodes,
            "max_steps": max_steps,
            "default_root_dir": default_root_dir,
            "use_distributed_sampler": use_distributed_sampler,
            **kwargs,
        }
        super().__init__(
            accelerator=accelerator,
            strategy=strategy,
            devices=devices,
            num_nodes=num_nodes,
            max_steps=max_steps,
            default_root_dir=default_root_dir,
            use_distributed_sampler=use_distributed_sampler,
            **kwargs,
        )

    def fit(
        self, *args: Any, ckpt_path: str | Path | None = None, weights_only: bool | None = True, **kwargs: Any
    ) -> None:
        """Search: move the experts through weight space until the utility stops rising.

        Args:
            args: Those of Lightning's method.
            ckpt_path: Where to resume: `last` (the newest run in trainer.default_root_dir), a run folder, or a
                checkpoint file; null starts a new run. `--resume RUN` also takes the settings from the run.
            weights_only: Whether a checkpoint may hold only tensors and plain values.
            kwargs: Those of Lightning's method.
        """
        super().fit(*args, ckpt_path=ckpt_path, weights_only=weights_only, **kwargs)  # type: ignore[misc]

    def validate(
        self,
        *args: Any,
        verbose: bool = False,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Any:
        """Score the best initial and the best found expert on the validation split.

        Args:
            args: Those of Lightning's method.
            verbose: Whether Lightning prints its own table too.
            ckpt_path: `last` (the newest run in trainer.default_root_dir), a run folder, or a checkpoint file.
                `swarm validate RUN` also takes the settings from the run.
            weights_only: Whether a checkpoint may hold only tensors and plain values.
            kwargs: Those of Lightning's method.
        """
        return super().validate(  # type: ignore[misc]
            *args, verbose=verbose, ckpt_path=ckpt_path, weights_only=weights_only, **kwargs
        )

    def test(
        self,
        *args: Any,
        verbose: bool = False,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Any:
        """Score the best initial expert, the best found expert and the top-k ensemble on the test split.

        Args:
            args: Those of Lightning's method.
            verbose: Whether Lightning prints its own table too.
            ckpt_path: `last` (the newest run in trainer.default_root_dir), a run folder, or a checkpoint file.
                `swarm test RUN` also takes the settings from the run.
            weights_only: Whether a checkpoint may hold only tensors and plain values.
            kwargs: Those of Lightning's method.
        """
        return super().test(  # type: ignore[misc]
            *args, verbose=verbose, ckpt_path=ckpt_path, weights_only=weights_only, **kwargs
        )

    def predict(
        self, *args: Any, ckpt_path: str | Path | None = None, weights_only: bool | None = True, **kwargs: Any
    ) -> Any:
        """Answer the prompts of a file (`--data.prompts`) with the best found expert.

        Args:
            args: Those of Lightning's method.
            ckpt_path: `last` (the newest run in trainer.default_root_dir), a run folder, or a checkpoint file.
                `swarm predict RUN` also takes the settings from the run.
            weights_only: Whether a checkpoint may hold only tensors and plain values.
            kwargs: Those of Lightning's method.
        """
        return super().predict(*args, ckpt_path=ckpt_path, weights_only=weights_only, **kwargs)  # type: ignore[misc]

    def export(
        self,
        model: L.LightningModule,
        ckpt_path: str,
        datamodule: L.LightningDataModule | None = None,
        particle: int | None = None,
        output: str | None = None,
        max_shard_size: str = SHARD,
        export_rank: int | None = None,
        push_to_hub: str | None = None,
        public: bool = False,
    ) -> None:
        """Write an expert from a checkpoint, in the format of the experts: a PEFT adapter folder or a full checkpoint.

        Args:
            model: The search that the checkpoint belongs to.
            ckpt_path: `last` (the newest run in trainer.default_root_dir), a run folder, or a checkpoint file.
                `swarm export RUN` also takes the settings from the run.
            datamodule: The data. Its name goes onto the card, and with export_rank the validation split is scored.
            particle: Particle whose personal best is written, counted from 0; null for the best expert found.
            output: The new folder; null for `best_expert` or `particle_<i>` in the run folder.
            max_shard_size: Maximum size of a weight file of a full checkpoint, such as `2GB`.
            export_rank: Rank to which a sum of products (model.coefficients) is reduced by truncated SVD; null for
                export_best.export_rank, and where that is null too, for its full rank. The card gives the loss of each
                layer and the utility on validation.
            push_to_hub: Repository on the Hugging Face hub (owner/name) to upload to. An export that is already in the
                run folder is uploaded unchanged. A new repository is private.
            public: Whether a new repository is public.
        """
        assert isinstance(model, ModelSwarm)
        if not self.is_global_zero:
            return
        if push_to_hub is not None:
            check_name(push_to_hub)
        folder = Path(output) if output is not None else Path(self.default_root_dir) / name_of_export(particle)
        if export_rank is None:
            callbacks: list[L.Callback] = self.callbacks  # type: ignore[attr-defined]
            export_rank = next((one.export_rank for one in callbacks if isinstance(one, ExportBest)), None)
        if push_to_hub is None or output is not None or not folder.exists():
            self._export(model, ckpt_path, datamodule, particle, folder, max_shard_size, export_rank)
        if push_to_hub is not None:
            say(f"Pushed: {folder} to {push_folder(folder, push_to_hub, public)}")

    def _export(
        self,
        model: ModelSwarm,
        ckpt_path: str,
        datamodule: L.LightningDataModule | None,
        particle: int | None,
        folder: Path,
        max_shard_size: str,
        rank: int | None,
    ) -> None:
        model.trainer = self
        if datamodule is not None:
            datamodule.prepare_data()
            self.datamodule = datamodule
        checkpoint = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        model.restore(checkpoint)
        if folder.exists():
            raise InputError(f"Expected a new folder, but {str(folder)!r} exists. Choose another one with --output.")
        model.check_rank(rank)
        cut = None
        if rank is not None and model.splits is not None:
            if particle is not None:
                check_particle(particle, model.exportable)
            model.load("validate")
            examples = model.splits.validation
            whole, cut = (model.utility_of_cut(most, particle, examples) for most in (None, rank))
        exported = model.export(folder, particle, max_shard_size=max_shard_size, rank=rank, utility_of_cut=cut)
        make_testable(exported, Path(self.default_root_dir), model.settings, partial(model.checkpoint, particle))
        if rank is not None:
            untold = f"Cut to rank {rank}: score it with `swarm test {exported}`, where there are data."
            say(untold if cut is None else said_of_cut(rank, whole, cut))
        say(f"Exported: {exported}")

    def compare(
        self,
        model: L.LightningModule,
        datamodule: L.LightningDataModule,
        compare: CompareSettings = CompareSettings(),  # noqa: B008 - frozen
    ) -> None:
        """Compare the search with other ways to combine the experts, at equal cost, in one table.

        Args:
            model: The search; its experts, engine and objective serve all methods.
            datamodule: The data.
            compare: What is compared, at which cost, and where the result goes.
        """
        from swarm_lightning.cli.subcommands.compare import run_comparison

        assert isinstance(model, ModelSwarm)
        run_comparison(self, self.sibling, model, datamodule, compare)

    def score(self, model: L.LightningModule, datamodule: L.LightningDataModule, out: str | None = None) -> None:
        """Score the base and every expert alone on both splits, without a search.

        Args:
            model: The search that would begin; of its settings only the base is needed.
            datamodule: The data.
            out: CSV file for the table; null for `scores.csv` in a new run folder.
        """
        from swarm_lightning.cli.subcommands.score import run_score

        assert isinstance(model, ModelSwarm)
        run_score(self, self.sibling, model, datamodule, out)

    def plan(
        self,
        model: L.LightningModule,
        datamodule: L.LightningDataModule,
        ranks: int | None = None,
        points: float = 0.05,
        seconds: float = 10.0,
        price_in: float | None = None,
        price_out: float | None = None,
        json: bool = False,
    ) -> None:
        """Forecast the cost of a search: check everything, evaluate a few rows, and write nothing.

        Args:
            model: The search that would begin.
            datamodule: Its data.
            ranks: A number of ranks for which the time is given too, each as fast as this one.
            points: Size of a difference between two utilities; the plan says how many validation examples it takes to
                tell it from noise.
            seconds: Approximate time for the trial evaluation.
            price_in: Price per million input tokens of a judge.
            price_out: Price per million output tokens of a judge.
            json: Whether to print the plan as one JSON object; a bare `--json` is enough.
        """
        from swarm_lightning.cli.subcommands.plan import run_plan

        assert isinstance(model, ModelSwarm)
        run_plan(self, self.sibling, model, datamodule, ranks, points, seconds, (price_in, price_out), json)

    def sibling(self, folder: Path, callbacks: Sequence[L.Callback], **changes: Any) -> "SwarmTrainer":
        """Return a trainer with the settings of this one, for a further run in a folder of its own.

        Args:
            folder: Where the run writes to.
            callbacks: Those of the run; none of this trainer's go along.
            changes: Arguments that differ.
        """
        own = {"default_root_dir": str(folder), "callbacks": list(callbacks), "logger": False}
        return SwarmTrainer(**{**self._arguments, **own, **changes})
