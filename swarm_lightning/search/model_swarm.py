"""The LightningModule whose training step is one iteration of the swarm: a thin shell over settings, state and parts.

It knows when each part is due: the optimizer moves, the evaluator scores, the state remembers, the callbacks restart,
stop, record and export. It contains no formula.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluation, Evaluator
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.checkpoint_export import SHARD
from swarm_lightning.experts.expert_export import export_expert
from swarm_lightning.experts.kinds import Pool, load_experts
from swarm_lightning.experts.model_card import render_card
from swarm_lightning.experts.resident import ResidentModel
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.search.agreement import check_same_run, check_same_swarm
from swarm_lightning.search.comparison import Bests
from swarm_lightning.search.export import card_facts, check_particle
from swarm_lightning.search.objective import (
    check_tasks,
    load_objective_state,
    note_parts,
    objective_state,
    prepare_objective,
)
from swarm_lightning.search.parts import (
    Alone,
    Asked,
    Resident,
    Sharing,
    base_of,
    check_circumstances,
    load_resident,
    make_evaluator,
    refusals,
    return_freed_memory,
    space_of,
)
from swarm_lightning.search.results import ResultRow, SearchResult, finite, measure, metrics_of
from swarm_lightning.search.scoring import open_journal, report_broken
from swarm_lightning.search.settings import (
    Draws,
    Movement,
    SearchSettings,
    Storage,
    check_same_search,
    identity_of,
)
from swarm_lightning.search.state import (
    FORMAT,
    KEY,
    READ_BY,
    SearchState,
    check_identity,
    held_in,
    record_in,
    warn_of_other_guides,
)
from swarm_lightning.search.strategy import ranks_of
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.space import Circumstances
from swarm_lightning.swarm.spaces import SPACES
from swarm_lightning.swarm.spaces.coefficients import BASE
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.swarm.step_length import StepLengthDecay

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ModelSwarm(L.LightningModule):
    """Searches the weight space between and beyond a pool of experts for a higher utility."""

    def __init__(
        self,
        base: str | None = None,
        *,
        experts: str | list[str],
        objective: Objective,
        particles: int = 20,
        child_span: float = 2.0,
        start: Start = Start(),  # noqa: B008 - frozen
        draws: Draws = "particle",
        optimizer: Callable[[Iterable[Tensor]], ParticleSwarm] = ParticleSwarm,
        scheduler: Callable[[Optimizer], LRScheduler] = StepLengthDecay,
        ensemble_size: int = 10,
        dtype: str = "auto",
        trust_remote_code: bool = False,
        engine: EngineSettings = EngineSettings(),  # noqa: B008 - frozen
        storage: Storage = "memory",
        state_folder: str | None = None,
    ) -> None:
        """Take the settings; nothing is read before `prepare_data`.

        Args:
            base: Folder or hub id of the base model; `demo:base` is the one that ships with the package. Full
                checkpoints need none: null takes the first of them.
            experts: Folder of PEFT LoRA adapters or of full checkpoints of one architecture, or a list of folders or
                hub ids; `demo:experts` (adapters) and `demo:checkpoints` (full checkpoints) ship.
            objective: What to ask the model and how to score its replies.
            particles: Number of particles N >= 2; children of two random experts fill the population up to it.
            child_span: A child is t a + (1 - t) b with t ~ U(0, child_span): 2 is half interpolation and half
                extrapolation (the authors' code), 1 is interpolation only (the paper's text).
            start: What the population begins with: the experts (published), or the base and sparsified experts too.
            draws: What is moved with random numbers of its own: a `particle` (published), each `tensor` of it, or its
                `coefficient` of each expert: then it consists of these n numbers.
            optimizer: The particle swarm: its coefficients, randomness, first velocity, drop-K and drop-N. Its
                learning rate is the step length.
            scheduler: Schedule of the step length, stepped once per iteration: any scheduler of torch.
            ensemble_size: How many of the best particles vote in `test`, >= 1.
            dtype: Data type of the base model: `auto` as stored, `float32`, `bfloat16` or `float16`. Positions are
                float32 in any case.
            trust_remote_code: Whether code that comes with the base model may run.
            engine: How particles are evaluated: batches, and what is left unasked because it can't change anything.
            storage: Where the swarm lies: `memory`, or `disk`, memory-mapped files for swarms larger than memory.
            state_folder: With `disk`, a folder in which the run gets one of its own for these files; `state` in the run
                folder if null.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__()
        self.automatic_optimization = False
        self.settings = SearchSettings(
            base, experts, particles, child_span, start, draws, optimizer, scheduler, ensemble_size, dtype,
            trust_remote_code, engine, storage, state_folder,
        )  # fmt: skip
        self.objective = objective
        self.state = SearchState()
        # The processes that share the work; all of them after `setup`.
        self.ranks = Ranks()
        # Where the scores of the running iteration are kept until a checkpoint holds them; nowhere by default.
        self.journal = ScoreJournal()
        self.positions: torch.nn.Parameter
        self._sharing: Sharing = Alone()
        self._pool: Pool | None = None
        self._resident: Resident | None = None
        self._evaluator: Evaluator | None = None
        self._populated = False
        self._make_movement(self.settings)

    def share(self, sharing: Sharing) -> None:
        """Leave to others what they may do for several searches.

        Args:
            sharing: What is loaded, measured and asked for all of them.
        """
        self._sharing = sharing

    def sample_by(self, seed: int) -> None:
        """Draw sampled replies by another seed than the last search's.

        Args:
            seed: Of the noise.
        """
        self.state.seed = seed

    # Loading: everything the user gave is checked before any work starts.

    def prepare_data(self) -> None:
        """Read the experts and check them against each other, before anything is written."""
        _ = self.pool
        check_tasks(self.objective, self.splits)

    @property
    def pool(self) -> Pool:
        """The experts, read from their sources at the first use."""
        if self._pool is None:
            self._pool = load_experts(self.settings.experts)
        return self._pool

    @property
    def evaluator(self) -> Evaluator:
        """What scores positions; there after `setup`."""
        if self._evaluator is None:
            raise RuntimeError("Expected `setup` to have run before the evaluator is used.")
        self._evaluator.seed = self.state.seed or 0  # which a checkpoint may have brought along
        return self._evaluator

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of the base model; there after `setup`."""
        if self._resident is None:
            raise RuntimeError("Expected `setup` to have run before the tokenizer is used.")
        return self._resident.tokenizer

    def setup(self, stage: str) -> None:
        """Load the base model once, check everything against it, and make the first population.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.

        Raises:
            InputError: If the experts do not fit the base, the objective can't serve the examples, or the ranks do
                not all run the same.
        """
        self.ranks = ranks_of(self.trainer)
        self.settings.check_population(len(self.pool.names))
        self._check_circumstances()
        if SPACES[self.settings.space].returns_memory:
            return_freed_memory()
        if self._evaluator is None:
            self.load(stage)
        if stage == "fit" or not self._populated:
            self._populate()
        own = {"experts": self.pool.fingerprint, "base": self._base_fingerprint}
        own |= self.identity if self.trainer.state.fn == "fit" else {}
        check_same_run(self.ranks, own, self._run_folder)

    def load(self, stage: str) -> None:
        """Load the base model, make it the resident model of the experts, and make what asks it.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.

        Raises:
            InputError: If the experts do not fit the base, or the objective can't serve the examples.
        """
        if self.ranks.index > 0:  # one bar for all
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()
        settings, device = self.settings, self.trainer.strategy.root_device
        key = (settings.base, settings.dtype, device, settings.trust_remote_code, self.pool.fingerprint)
        self._resident = self._sharing.resident(key, lambda: load_resident(settings, self.pool, device))
        splits, replies_only = (None, True) if stage == "predict" else (self.splits, False)
        self._evaluator = make_evaluator(settings, self._resident, self.objective, self.ranks, splits, replies_only)

    def _check_circumstances(self) -> None:
        callbacks: Sequence[Any] = self.trainer.checkpoint_callbacks
        keeps_all = any(callback.save_top_k not in (0, 1) for callback in callbacks)
        kernel = self._movement.swarm.defaults.get("kernel", "plain")
        check_circumstances(
            self.settings.space, Circumstances(kernel, self.settings.start, self.ranks.count, keeps_all)
        )

    def _make_movement(self, settings: SearchSettings) -> None:
        """Make optimizer and schedule on positions that are still to come."""
        empty = torch.empty(settings.particles, 0, dtype=SPACES[settings.space].dtype)
        self.positions = torch.nn.Parameter(empty, requires_grad=False)
        self._movement = Movement.of(settings, self.positions)

    def _populate(self) -> None:
        """Begin a new search: with a new swarm, unless the one that is there has not been used yet."""
        if self._populated:
            self._make_movement(self.settings)
        self._populated = True
        self.state.start(self.ranks.first(torch.initial_seed()))
        space = space_of(self.settings, self.pool, self._run_folder)
        self._movement.swarm.enter(space)
        if space.writes:  # made when nothing else can refuse the search, and no checkpoint has brought them
            self.positions.data = space.empty(self.settings.particles)
        else:
            self._make_first_positions()

    def _make_first_positions(self) -> None:
        settings, space = self.settings, self._movement.swarm.space
        with refusals():
            self.positions.data = space.first_positions(
                settings.start, settings.particles, settings.child_span, self.state.generator
            )

    @property
    def _run_folder(self) -> Path:
        return Path(self.trainer.default_root_dir)

    @property
    def _base_fingerprint(self) -> str | None:
        return None if self._resident is None else self._resident.fingerprint

    @property
    def task(self) -> str:
        """Name of the dataset whose validation split guides the search."""
        return self.splits.name if self.splits is not None else "examples of the user's own dataloader"

    @property
    def held_back(self) -> Sequence[Example]:
        """What the search is scored on when it has ended: the test split, where the trainer's data module has one."""
        return self._sharing.held_back(self.splits.test if self.splits is not None else ())

    @property
    def splits(self) -> ExampleSplits | None:
        """The examples of the trainer's data module, where it has one."""
        return getattr(getattr(self.trainer, "datamodule", None), "splits", None)

    @property
    def base(self) -> str:
        """Folder or hub id of the base model: the one that was named, or the first of the full checkpoints."""
        return base_of(self.settings, self.pool)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this search this one and no other, as plain values."""
        data = getattr(getattr(self.trainer, "datamodule", None), "fingerprint", None)
        pool = self.pool.fingerprint
        return identity_of(self.settings, self._movement, self.objective, self._base_fingerprint, pool, data)

    def configure_optimizers(self) -> Any:
        """Return the particle swarm and the schedule of its step length, and make what is still missing of them."""
        swarm = self._movement.swarm
        if swarm.space.writes:  # no checkpoint has brought its rows
            self._make_first_positions()
        return [swarm], [self._movement.schedule]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave examples where they are: they are text, and Lightning refuses to look into frozen dataclasses."""
        return batch

    # The search.

    @property
    def particle_swarm(self) -> ParticleSwarm:
        """The optimizer: there once the trainer has set the search up or a checkpoint has brought it."""
        if not self._populated:
            raise RuntimeError("Expected a search: call `trainer.fit`, or give a checkpoint.")
        return self._movement.swarm

    @property
    def swarm(self) -> Swarm:
        """The memory of the swarm; there once the first positions have been evaluated."""
        return self.particle_swarm.swarm

    def keep_running_scores(self, folder: Path) -> None:
        """Keep the scores of the running iteration in a folder until a checkpoint holds them."""
        self.journal = ScoreJournal(folder)

    def on_train_start(self) -> None:
        """Evaluate the first positions, unless a checkpoint brought the swarm along."""
        if self.particle_swarm.begun:
            return
        examples = next(iter(self.trainer.train_dataloader or ()))
        self.prepare(examples)
        utilities = self.score(examples)
        self.particle_swarm.begin(utilities, self.state.generator)
        self._note(examples)
        for logger in self.loggers:
            logger.log_metrics(finite(self.state.metrics), step=0)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Let the objective measure what it needs on the base, before anything is scored."""
        self._sharing.measure(
            self._asked, lambda: prepare_objective(self.objective, self.evaluator, self.ranks, examples)
        )

    def training_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Do one iteration: move every particle, score it, remember the bests.

        Args:
            batch: The examples that guide the search, M of them.
            batch_idx: Always 0: one batch is one epoch is one iteration.
        """
        started = time.perf_counter()
        self._tidy()
        self.optimizers().step(closure=lambda: self.score(batch))  # type: ignore[union-attr]
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LRScheduler)
        schedule.step()
        self.state.seconds += time.perf_counter() - started - self.state.scoring_seconds
        self._note(batch)
        self.log_dict(finite(self.state.metrics), batch_size=len(batch))

    def score(self, examples: Sequence[Example]) -> Tensor:
        """Score every particle that is due.

        Args:
            examples: The examples to ask, M of them.

        Returns:
            Utilities [N] float64; NaN for a particle that is not due, and for one whose utility is left open because it
            neither rises above its personal best nor falls below the global worst; -inf for a broken one.
        """
        started = time.perf_counter()
        swarm, state = self.particle_swarm, self.state
        check_same_swarm(self.ranks, swarm, examples)
        stakes = state.scores.stakes(swarm.swarm, swarm.settings.repel > 0) if swarm.begun else None
        evaluation = self._evaluate(examples, stakes)
        state.take_scores(evaluation, report_broken(swarm, evaluation, examples), swarm)
        state.count(time.perf_counter() - started, len(examples))
        return evaluation.utilities

    def _evaluate(self, examples: Sequence[Example], stakes: Stakes | None) -> Evaluation:
        """Ask the particles that are due what has to be found out about them."""
        swarm = self.particle_swarm
        positions = swarm.space.vectors(swarm.positions)
        if self.journal.keeps:
            iteration = int(swarm.swarm.iterations) if swarm.begun else None
            now = (self.state.seed, iteration, objective_state(self.objective))
            open_journal(self.journal, self.identity, now, examples, positions, self.ranks)

        def ask(due: Tensor) -> Evaluation:
            return self.evaluator.evaluate(positions, examples, due, stakes, journal=self.journal)

        return ask(swarm.due) if swarm.begun else self._sharing.first_scores(self._asked, positions, ask)

    @property
    def _asked(self) -> Asked:
        device = self.trainer.strategy.root_device.type
        return Asked(self.objective, self.identity, self.state.seed, self.settings.dtype, device)

    def _note(self, examples: Sequence[Example]) -> None:
        """Note what the iteration that has just ended has brought."""
        swarm, state = self.particle_swarm, self.state
        assert state.evaluation is not None
        state.parts = note_parts(
            self.objective, swarm.swarm, state.scores.best, self.best_initial, examples, state.parts
        )
        state.metrics = measure(
            swarm, state.evaluation, state.scoring_seconds, state.broken, state.scores.reach, state.parts
        )

    def on_fit_end(self) -> None:
        """Remove what no checkpoint needs."""
        self._tidy()

    def _tidy(self) -> None:
        self.particle_swarm.space.tidy(self.particle_swarm.held)

    # What comes out of it.

    @property
    def best_initial(self) -> int:
        """Index of the best expert among those the user brought, by the utility before the first iteration."""
        utilities = self.swarm.initial_utilities[: len(self.pool.names)]
        return int(utilities.masked_fill(~utilities.isfinite(), -torch.inf).argmax())

    @property
    def bests(self) -> Bests:
        """The best experts of the search, which can be asked."""
        return Bests(self.pool, self.best_initial, self.particle_swarm, self.evaluator, self.objective, self.ranks)

    def result(self, test: Sequence[Example] = ()) -> SearchResult:
        """Sum up the search; the test split is scored at the first call and never before the search has ended.

        Args:
            test: The examples held back; empty if there are none.

        Returns:
            The summary, the same object at every call.
        """
        if self.state.result is None:
            rows = self.bests.score(test) if test else ()
            self.state.result = self.state.sum_up(self.swarm, self.best_initial, self.pool.names, rows)
        return self.state.result

    def validation_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Score the best initial and the best found expert on the validation split."""
        self._report("validation", self.bests.score(batch))

    def test_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Score the best initial expert, the best found expert and the ensemble on the test split."""
        self._report("test", self.bests.score(batch, self.settings.ensemble_size, win_rates=True))

    def _report(self, split: str, rows: tuple[ResultRow, ...]) -> None:
        self.log_dict(metrics_of(rows, split), batch_size=rows[0].examples)
        self.state.rows = rows

    def predict_step(self, batch: Sequence[Example], batch_idx: int) -> list[dict[str, str]]:
        """Answer prompts, examples made from a file of them, with the best found expert; see `Bests.answer`."""
        return self.bests.answer(batch, self.tokenizer)

    def resident(self) -> ResidentModel:
        """Return the resident model, loaded on the CPU where the search is not set up.

        Raises:
            InputError: If the base can't be loaded, or is not the one of a checkpoint whose weights are made with it.
        """
        if self._resident is not None:
            return self._resident.adapted
        loaded = load_resident(self.settings, self.pool, torch.device("cpu"))
        origin = self.state.origin
        if origin is not None and self.particle_swarm.space.differences_from == BASE:
            check_same_search({"base": origin["identity"]["base"]}, {"base": loaded.fingerprint})
        return loaded.adapted

    def export(
        self,
        folder: Path,
        particle: int | None = None,
        test: Sequence[ResultRow] = (),
        overwrite: bool = False,
        max_shard_size: str = SHARD,
    ) -> Path:
        """Write the best found expert, or the personal best of a particle, with a model card.

        It is of the kind of the experts: a PEFT adapter folder, or a full checkpoint.

        Args:
            folder: Where it goes.
            particle: Whose personal best; None for the best found expert.
            test: The best initial and the best found expert on the test split, where they were scored.
            overwrite: Whether an existing folder may be replaced.
            max_shard_size: Size of a weight file of a full checkpoint at most.

        Returns:
            The folder.

        Raises:
            InputError: If there is no such particle, or the folder can't be written.
        """
        if particle is not None:
            check_particle(particle, self.settings.particles)
        swarm = self.particle_swarm
        position = swarm.swarm.global_best if particle is None else swarm.swarm.personal_bests[particle]
        # A checkpoint knows which search it belongs to better than the config of the moment.
        origin = self.state.origin or {"base": self.base, "task": self.task, "identity": self.identity}
        facts = card_facts(folder.name, swarm, self.state, origin, self.pool, self.best_initial, particle, test)
        return export_expert(
            folder, swarm.space.vector(position), self.pool, render_card(facts), origin["base"], self.base,
            self.resident, overwrite, max_shard_size, self.settings.trust_remote_code,
        )  # fmt: skip

    def release_swarm(self) -> None:
        """Let go of the weights of a swarm in memory that is not asked any more; the next `fit` makes a new one.

        Lightning's parts refer to each other and to the optimizer in circles: without this, the 3 N + 2 rows stay in
        memory until Python happens to look for circles, beside those of the next search.
        """
        self.particle_swarm.state.clear()
        self.positions.data = self.positions.data.new_empty(0, 0)

    # Checkpoints: Lightning stores positions and optimizer; here is what they belong to.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the positions belong to, so that they can be resumed and exported."""
        checkpoint[KEY] = {
            "format": FORMAT,
            "identity": self.identity,
            **self.state.record(),
            "objective": objective_state(self.objective),
            "base": self.base,
            "task": self.task,
            "experts": list(self.pool.names),
            "storage": self.particle_swarm.space.record(self.particle_swarm.held),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to this search, and take the swarm out of it where no trainer does.

        Raises:
            InputError: If the checkpoint is not one of a swarm, or of another search.
        """
        if self.trainer.state.fn != "fit":
            self.restore(checkpoint)
            return
        record = record_in(checkpoint)
        check_identity(record["identity"], self.identity)
        kind = record.get("storage", {}).get("kind", "memory")
        if kind != self.settings.storage:
            raise InputError(
                f"Expected to resume with the storage of the checkpoint, {kind}, but model.storage is "
                f"{self.settings.storage}. Set it to {kind}."
            )
        self._take(record, checkpoint)

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Take positions and memory of the swarm out of a checkpoint, to score or export them.

        Raises:
            InputError: If the checkpoint is not one of a swarm, or of other experts.
        """
        record = record_in(checkpoint)
        storage = record.get("storage", {}).get("kind", "memory")
        settings = replace(self.settings, storage=storage)
        self._make_movement(settings)
        self._movement.swarm.enter(space_of(settings, self.pool, self._run_folder))
        check_identity(record["identity"], self.identity, {*READ_BY, *(["base"] if self._base_fingerprint else [])})
        self._take(record, checkpoint)
        self.state.origin = record
        warn_of_other_guides(record["identity"], self.identity)
        self.positions.data = checkpoint["state_dict"]["positions"]
        self._populated = True
        self._movement.swarm.load_state_dict(checkpoint["optimizer_states"][0])

    def _take(self, record: dict[str, Any], checkpoint: dict[str, Any]) -> None:
        """Take up what an earlier part of the search knew and had done."""
        with refusals():
            self._movement.swarm.space.resume(record.get("storage", {}), held_in(checkpoint))
        self.state.resume(record)
        if record["identity"]["objective"]["class"] == type(self.objective).__qualname__:
            load_objective_state(self.objective, record.get("objective", {}))
