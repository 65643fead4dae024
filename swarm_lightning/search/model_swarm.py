"""The LightningModule whose training step is one iteration of the swarm.

It holds the positions, loads the base model and the experts, and calls the parts: the optimizer moves, the evaluator
scores, the callbacks restart, stop, record and export. It contains no formula.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.search.agreement import check_same_run, check_same_swarm
from swarm_lightning.search.answers import answer_prompts
from swarm_lightning.search.broken import report_broken
from swarm_lightning.search.comparison import compare
from swarm_lightning.search.loading import check_settings, load_parts
from swarm_lightning.search.metrics import finite, measure
from swarm_lightning.search.monitors import CheckMonitors
from swarm_lightning.search.objective_state import prepare_objective
from swarm_lightning.search.outcome import metrics_of, sum_up
from swarm_lightning.search.population import Draws, first_positions, particle_swarm_of
from swarm_lightning.search.record import READ_BY, record_of, take_record
from swarm_lightning.search.resident import Resident, load_resident
from swarm_lightning.search.results import Row, SearchResult
from swarm_lightning.search.resume import KEY
from swarm_lightning.search.running_scores import journal_for
from swarm_lightning.search.score_memory import ScoreMemory
from swarm_lightning.search.storage import RunRows, Storage, check_storage, new_rows, return_freed_memory, sweep
from swarm_lightning.search.strategy import ranks_of
from swarm_lightning.search.tasks import check_tasks, note_parts
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.state import Swarm
from swarm_lightning.swarm.step_length import StepLengthDecay

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.data.examples import ExampleSplits
    from swarm_lightning.evaluation.evaluator import Evaluation, Evaluator
    from swarm_lightning.evaluation.exact_stop import Stakes
    from swarm_lightning.experts.kinds import Pool


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
        if particles < 2:
            raise InputError(f"Expected at least 2 particles, but got {particles}.")
        if not 0 < child_span < float("inf"):
            raise InputError(f"Expected child_span to be above 0 and finite, but got {child_span}.")
        if ensemble_size < 1:
            raise InputError(f"Expected ensemble_size to be at least 1, but got {ensemble_size}.")
        self.automatic_optimization = False
        self.base, self.experts, self.objective = base, experts, objective
        self.particles = particles
        self.child_span = child_span
        self.start, self.draws = start, draws
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.ensemble_size = ensemble_size
        self.base_dtype = dtype
        self.trust_remote_code = trust_remote_code
        self.engine, self.storage, self.state_folder = engine, storage, state_folder
        # The rows of a swarm on the disk: positions and memory hold their numbers then.
        self.stored: RunRows | None = None
        self.seed: int | None = None
        self.base_fingerprint: str | None = None
        # The processes that share the work; all of them after `setup`.
        self.ranks = Ranks()
        self.seconds = 0.0
        self.evaluations = 0
        self.generated_tokens = 0
        self.examples = 0
        # The latest evaluation of the swarm: callbacks read the score table from it.
        self.evaluation: Evaluation | None = None
        # What is logged of the latest iteration, by name; measured once for loggers, history and progress. All are
        # unitless but the seconds.
        self.metrics: dict[str, float] = {}
        # What a checkpoint says about its search, where the swarm comes from one.
        self.record: dict[str, Any] | None = None
        # The table of the latest validation or test.
        self.rows: tuple[Row, ...] = ()
        self.positions: torch.nn.Parameter
        self._pool: Pool | None = None
        self._evaluator: Evaluator | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._generator = torch.Generator()
        self._particle_swarm: ParticleSwarm | None = None
        self.score_memory = ScoreMemory()
        # The utility of every task, of the best initial and the best found expert; empty where there are no tasks.
        self.parts: dict[str, dict[str, float]] = {}
        # Where the scores of the running iteration are kept until a checkpoint holds them; nowhere by default.
        self.journal = ScoreJournal()
        self.scoring_seconds = 0.0
        self.broken = torch.zeros(particles, dtype=torch.bool)
        self._result: SearchResult | None = None

    # Loading: everything the user gave is checked before any work starts.

    def prepare_data(self) -> None:
        """Read the experts and check them against each other, before anything is written."""
        _ = self.pool
        check_tasks(self.objective, self.splits)

    @property
    def pool(self) -> "Pool":
        """The experts, read from their sources at the first use."""
        if self._pool is None:
            from swarm_lightning.experts.kinds import load_experts

            self._pool = load_experts(self.experts)
        return self._pool

    @property
    def is_set_up(self) -> bool:
        """Whether `setup` has loaded the base."""
        return self._evaluator is not None

    @property
    def evaluator(self) -> "Evaluator":
        """What scores positions; there after `setup`."""
        if self._evaluator is None:
            raise RuntimeError("Expected `setup` to have run before the evaluator is used.")
        self._evaluator.seed = self.seed or 0  # which a checkpoint may have brought along
        return self._evaluator

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of the base model; there after `setup`."""
        if self._tokenizer is None:
            raise RuntimeError("Expected `setup` to have run before the tokenizer is used.")
        return self._tokenizer

    def setup(self, stage: str) -> None:
        """Load the base model once, check everything against it, and make the first population.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.

        Raises:
            InputError: If the experts do not fit the base, the objective can't serve the examples, or the ranks do
                not all run the same.
        """
        self.ranks = ranks_of(self.trainer)
        check_settings(self)
        check_storage(self)
        if self.storage == "disk" or self.draws == "coefficient":
            return_freed_memory()
        if self._evaluator is None:
            load_parts(self, stage)
        if stage == "fit" or self._particle_swarm is None:
            self._populate()
        check_same_run(self)

    def take_parts(self, evaluator: "Evaluator", tokenizer: "PreTrainedTokenizerBase", fingerprint: str) -> None:
        """Take up what `load_parts` has made."""
        self._evaluator, self._tokenizer, self.base_fingerprint = evaluator, tokenizer, fingerprint

    def load_resident(self) -> "Resident":
        """Load the base, as the model that becomes particles."""
        return load_resident(self, self.trainer.strategy.root_device)

    def _populate(self) -> None:
        self.seed = self.ranks.first(torch.initial_seed())
        self._generator.manual_seed(self.seed)
        self.stored = None
        self.positions = torch.nn.Parameter(first_positions(self, self._generator), requires_grad=False)
        self.seconds, self.evaluations, self.generated_tokens, self._result = 0.0, 0, 0, None
        self.parts = {}

    @property
    def task(self) -> str:
        """Name of the dataset whose validation split guides the search."""
        return self.splits.name if self.splits is not None else "examples of the user's own dataloader"

    @property
    def held_back(self) -> Sequence[Example]:
        """The test split; empty where the trainer's data module has none."""
        return self.splits.test if self.splits is not None else ()

    @property
    def splits(self) -> "ExampleSplits | None":
        """The examples of the trainer's data module, where it has one."""
        return getattr(getattr(self.trainer, "datamodule", None), "splits", None)

    def configure_callbacks(self) -> list[L.Callback]:
        """Let no callback wait for a number that there is not."""
        return [CheckMonitors()]

    def configure_optimizers(self) -> Any:
        """Make the particle swarm and the schedule of its step length."""
        if self.storage == "disk" and self.stored is None:  # no checkpoint has brought its rows
            self.positions.data.copy_(new_rows(self, self._generator))
        self._particle_swarm = particle_swarm_of(self)
        return [self._particle_swarm], [self.scheduler_factory(self._particle_swarm)]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave examples where they are: they are text, and Lightning refuses to look into frozen dataclasses."""
        return batch

    # The search.

    @property
    def particle_swarm(self) -> ParticleSwarm:
        """The optimizer: there once the trainer has made it or a checkpoint has brought it."""
        if self._particle_swarm is None:
            raise RuntimeError("Expected a search: call `trainer.fit`, or give a checkpoint.")
        return self._particle_swarm

    @property
    def swarm(self) -> Swarm:
        """The memory of the swarm; there once the first positions have been evaluated."""
        return self.particle_swarm.swarm

    def on_train_start(self) -> None:
        """Evaluate the first positions, unless a checkpoint brought the swarm along."""
        if self.particle_swarm.begun:
            return
        examples = next(iter(self.trainer.train_dataloader or ()))
        self.prepare(examples)
        utilities = self.score(examples)
        self.particle_swarm.begin(utilities, self._generator)
        note_parts(self, examples)
        self.metrics = measure(self)
        for logger in self.loggers:
            logger.log_metrics(finite(self.metrics), step=0)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Let the objective measure what it needs on the base, before anything is scored."""
        prepare_objective(self, examples)

    def training_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Do one iteration: move every particle, score it, remember the bests.

        Args:
            batch: The examples that guide the search, M of them.
            batch_idx: Always 0: one batch is one epoch is one iteration.
        """
        started = time.perf_counter()
        sweep(self)
        self.optimizers().step(closure=lambda: self.score(batch))  # type: ignore[union-attr]
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LRScheduler)
        schedule.step()
        note_parts(self, batch)
        self.seconds += time.perf_counter() - started - self.scoring_seconds
        self.metrics = measure(self)
        self.log_dict(finite(self.metrics), batch_size=len(batch))

    def score(self, examples: Sequence[Example]) -> Tensor:
        """Score every particle that is due.

        Args:
            examples: The examples to ask, M of them.

        Returns:
            Utilities [N] float64; NaN for a particle that is not due, and for one whose utility is left open because it
            neither rises above its personal best nor falls below the global worst; -inf for a broken one.
        """
        started = time.perf_counter()
        check_same_swarm(self, examples)
        optimizer, memory = self.particle_swarm, self.score_memory
        stakes = memory.stakes(self.swarm, self.repels) if optimizer.begun else None
        self.evaluation = self.evaluate(examples, stakes, journal_for(self, examples))
        self.broken = report_broken(self, self.evaluation, examples)
        if optimizer.begun:
            memory.update(self.evaluation, self.swarm, optimizer.due)
            memory.reach[optimizer.lost] = -torch.inf
        else:
            memory.begin(self.evaluation)
        self.scoring_seconds = time.perf_counter() - started
        self.seconds += self.scoring_seconds
        self.evaluations += self.evaluation.evaluated
        self.generated_tokens += self.evaluation.generated
        self.examples = len(examples)
        return self.evaluation.utilities

    def evaluate(self, examples: Sequence[Example], stakes: "Stakes | None", journal: ScoreJournal) -> "Evaluation":
        """Ask the particles that are due what has to be found out about them."""
        due, positions = self.particle_swarm.due, self.particle_swarm.vectors(self.positions.data)
        return self.evaluator.evaluate(positions, examples, due, stakes, journal=journal)

    @property
    def repels(self) -> bool:
        """Whether particles are pushed away from the global worst."""
        return bool(self.particle_swarm.param_groups[0]["repel"] > 0)

    def on_fit_end(self) -> None:
        """Remove what no checkpoint needs."""
        sweep(self)

    # What comes out of it.

    @property
    def best_initial(self) -> int:
        """Index of the best expert among those the user brought, by the utility before the first iteration."""
        utilities = self.swarm.initial_utilities[: len(self.pool.names)]
        return int(utilities.masked_fill(~utilities.isfinite(), -torch.inf).argmax())

    def result(self, test: Sequence[Example] = ()) -> SearchResult:
        """Sum up the search; the test split is scored at the first call and never before the search has ended.

        Args:
            test: The examples held back; empty if there are none.

        Returns:
            The summary, the same object at every call.
        """
        if self._result is None:
            self._result = sum_up(self, test)
        return self._result

    def validation_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Score the best initial and the best found expert on the validation split."""
        self._report("validation", compare(self, batch))

    def test_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Score the best initial expert, the best found expert and the ensemble on the test split."""
        self._report("test", compare(self, batch, ensemble=True, win_rates=True))

    def _report(self, split: str, rows: tuple[Row, ...]) -> None:
        self.log_dict(metrics_of(rows, split), batch_size=rows[0].examples)
        self.rows = rows

    def predict_step(self, batch: Sequence[Example], batch_idx: int) -> list[dict[str, str]]:
        """Answer prompts, examples made from a file of them, with the best found expert; see `answer_prompts`."""
        return answer_prompts(self, batch)

    # Checkpoints: Lightning stores positions and optimizer; here is what they belong to.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the positions belong to, so that they can be resumed and exported."""
        checkpoint[KEY] = record_of(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to this search, and take the swarm out of it where no trainer does.

        Raises:
            InputError: If the checkpoint is not one of a swarm, or of another search.
        """
        if self.trainer.state.fn != "fit":
            self.restore(checkpoint)
        else:
            take_record(self, checkpoint)

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Take positions and memory of the swarm out of a checkpoint, to score or export them; see `take_record`."""
        take_record(self, checkpoint, {*READ_BY, *(["base"] if self.base_fingerprint else [])})
        self.positions = torch.nn.Parameter(checkpoint["state_dict"]["positions"], requires_grad=False)
        self._particle_swarm = particle_swarm_of(self)
        self._particle_swarm.load_state_dict(checkpoint["optimizer_states"][0])
