"""The LightningModule whose training step is one iteration of the swarm: a thin shell over settings, state and parts.

It knows when each part is due: the optimizer moves, the evaluator scores, the state remembers, the callbacks restart,
stop, record and export. It contains no formula. How a search is set up, saved and resumed is in `prepared.py`.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.mixtures.mixture import MixtureKind
from swarm_lightning.evaluation.settings import EngineSettings, GraphSettings
from swarm_lightning.experts.products.products import Granularity
from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.objectives.mixed_guide import MixedGuide
from swarm_lightning.objectives.protocol import Objective
from swarm_lightning.search.asking import report_broken
from swarm_lightning.search.export import ExportingSearch
from swarm_lightning.search.guide import Shown, check_guide, mixture_of, name_shown
from swarm_lightning.search.measures import CheckMonitors, finite, for_loggers, parts_in
from swarm_lightning.search.objective import prepare_objective
from swarm_lightning.search.procedures import procedure_of
from swarm_lightning.search.results import Bests, ResultRow, SearchResult, metrics_of
from swarm_lightning.search.settings import DrawsChoice, GuideChoice, SearchSettings, Storage
from swarm_lightning.search.strategy import check_same_swarm
from swarm_lightning.swarm.centre_search import CentreSearch
from swarm_lightning.swarm.optimizer import ParticleSwarm
from swarm_lightning.swarm.population import Start
from swarm_lightning.swarm.search_optimizer import SearchOptimizer
from swarm_lightning.swarm.step_length import StepLengthDecay


class ModelSwarm(ExportingSearch):
    """Searches the weight space between and beyond a pool of experts for a higher utility."""

    def __init__(
        self,
        base: str | None = None,
        *,
        experts: str | list[str],
        objective: Objective | None = None,
        guide: GuideChoice = "objective",
        particles: int = 20,
        child_span: float = 2.0,
        start: Start = Start(),  # noqa: B008 - frozen
        coefficients: Granularity | None = None,
        mixture: MixtureKind | None = None,
        draws: DrawsChoice = "particle",
        optimizer: Callable[[Iterable[Tensor]], SearchOptimizer] = ParticleSwarm,
        scheduler: Callable[[Optimizer], LRScheduler] = StepLengthDecay,
        ensemble_size: int = 10,
        dtype: str = "auto",
        trust_remote_code: bool = False,
        engine: EngineSettings = EngineSettings(),  # noqa: B008 - frozen
        storage: Storage = "memory",
        state_folder: str | None = None,
        graphs: GraphSettings | None = None,
        objective_every: int | None = 4,
        refit: bool = False,
        log_particles: bool = True,
    ) -> None:
        """Take the settings; nothing is read before `prepare_data`.

        Args:
            base: Folder or hub id of the base model; `demo:base` ships with the package. Full checkpoints don't need
                one: null uses the first of them.
            experts: Folder of PEFT LoRA adapters or of full checkpoints of one architecture, or a list of folders or
                hub ids; `demo:experts` (adapters) and `demo:checkpoints` (full checkpoints) ship with the package.
            objective: How the model is prompted and its replies are scored; null chooses by the data: MultipleChoice if
                the examples have choices, ExactMatch if they have an answer.
            guide: What the search maximises: the `objective` (published), or its `smooth` guide, such as the likelihood
                of the right answers. A guide is checked on the first positions, and dropped if it does not rank them as
                the objective does (`mixed`: only if it ranks them the other way round; if its ranking is unclear, the
                sum of both is followed, which scores every example twice); in the end the objective chooses among the
                best few.
            particles: Number of particles N, >= 2; children of two random experts fill up the population.
            child_span: A child is t a + (1 - t) b with t ~ U(0, child_span): 2 is half interpolation and half
                extrapolation (the authors' code), 1 is interpolation only (the paper's text).
            start: The initial population: the experts (published), or also the base, sparsified experts, or sums of the
                experts (their mean, scaled means, and their greedy soup).
            coefficients: null: a particle is the A and B matrices of an adapter (published), or the weights of a whole
                model. Otherwise a particle is coefficients of a weighted sum of the experts' updates, which are the
                products B A of adapters or the differences of full checkpoints from the base: one coefficient per
                `expert`, or per `layer`, `half_block` (attention or MLP), `module` or rank `component` of each expert.
                Full checkpoints support expert, layer and module.
            mixture: null: the experts' weights are moved. Otherwise a token swarm: experts are any causal language
                models, adapters or whole models of any architecture and size, and a particle is one number per expert
                that weighs its next-token `probabilities` (negative numbers count as 0, the rest are normalised) or
                `log_probabilities` (a weighted sum, normalised; a negative number steers away from an expert). Prompts
                are formatted for the base, or for the first expert if there is none.
            draws: What gets random numbers of its own in a move: a `particle` (published), each `tensor` of it, or each
                `coefficient`; with `coefficient`, if `coefficients` is null, a particle is n coefficients of the
                experts' A and B matrices.
            optimizer: The search algorithm with its settings: by default the particle swarm (coefficients, randomness,
                first velocity, drop-K, drop-N). Its learning rate is the step length.
            scheduler: Schedule of the step length, stepped once per iteration: any torch scheduler.
            ensemble_size: How many of the best particles vote in `test`, >= 1.
            dtype: Data type of the base model: `auto` as stored, `float32`, `bfloat16` or `float16`. Positions are
                float32 in any case.
            trust_remote_code: Whether code that ships with the base model may run.
            engine: How particles are evaluated: batch sizes, and which evaluations are skipped because they can't
                change the result.
            storage: Where the swarm is kept: `memory`, or `disk` (memory-mapped files) for swarms larger than memory.
            state_folder: With `disk`, a folder in which the run creates its own subfolder for these files; null for
                `state` in the run folder.
            graphs: null: experts answer alone. Otherwise they answer together along graphs in which models read the
                replies of others: `particles` is the number of graphs, and the optimizer is HeterogeneousSwarm, which
                moves the graphs and the experts. Its settings: `swarm fit --model.graphs.help`.
            objective_every: With a guide, number of iterations between two evaluations of the best position by the
                objective, so that its progress is visible; null: only in the end. An evolution strategy pays for them
                out of its budget, and skips them if they would take more than a twentieth of what its steps use.
            refit: With `coefficients` and EvolutionStrategy: whether the A matrices of LoRA experts are fitted anew
                before the first step, by linear regression, so that each expert acts on inputs like those of the
                examples it answers best. The search starts from the sum of these experts where that has the highest
                utility. Each fit reads all examples twice, which counts as evaluations.
            log_particles: Whether loggers also receive the numbers of every particle; the history has them in any case.

        Raises:
            InputError: If a setting is out of range, or the optimizer or the scheduler refuses its own.
        """
        settings = SearchSettings(
            base, experts, particles, child_span, start, draws, optimizer, scheduler, ensemble_size, dtype,
            trust_remote_code, engine, storage, state_folder, coefficients, guide, mixture, graphs,
            objective_every, refit,
        )  # fmt: skip
        super().__init__(settings, objective)
        self._procedure = procedure_of(self.movement, self)
        self._log_particles = log_particles

    def configure_callbacks(self) -> list[L.Callback]:
        """Let no callback wait for a number that there is not."""
        names = self._procedure.metric_names()
        if self.settings.guide != "objective":
            names.append(name_shown(self._population.swarm))
        return [CheckMonitors(names, lambda: self.state.evaluation is not None)]

    # The search.

    def on_train_start(self) -> None:
        """Evaluate the first positions, unless a checkpoint brought the swarm along."""
        if self.particle_swarm.begun:
            self.trainer.should_stop = self.trainer.should_stop or self.particle_swarm.done
            return
        examples = next(iter(self.trainer.train_dataloader or ()))
        self._procedure.check(examples)
        self.prepare(examples)
        utilities = self.score(examples)
        if self.guide is not self.objective:
            utilities = self._check_guide(utilities, examples)
        utilities = self._procedure.complete(examples, utilities)
        self.particle_swarm.begin(utilities, self.state.generator)
        begun = self._procedure.begin(examples, lambda: self.score(examples))
        self.state.starts = dict(begun.starts)
        self.state.shown = Shown(begun.every) if self.state.guided else None
        self._measure(examples)
        self.note_objective(examples)
        for logger in self.loggers:
            logger.log_metrics(for_loggers(self.state.metrics, self._log_particles), step=0)

    def _check_guide(self, utilities: Tensor, examples: Sequence[Example]) -> Tensor:
        """Ask the first positions by the objective too, and take its utilities [N] where the guide says others."""
        state, swarm, started = self.state, self.particle_swarm, time.perf_counter()
        assert state.evaluation is not None
        evaluation = self.first_scores(examples, self.objective)
        state.check = check_guide(
            self.guide,
            state.evaluation,
            self.objective,
            evaluation,
            examples,
            self.settings.guide == "mixed",
            isinstance(swarm, CentreSearch),
        )
        rank_zero_info(str(state.check))
        if state.guided:
            state.reported, state.reported_scores = evaluation.utilities, evaluation.scores
            parts = parts_in(self.objective, evaluation.scores[self.best_initial], examples)
            state.parts = {INITIAL: parts} if parts else {}
            state.add(evaluation, time.perf_counter() - started)
            if isinstance(self.followed, MixedGuide):
                state.take_scores(mixture_of(self.followed, state.evaluation, evaluation), state.broken, swarm)
                return state.evaluation.utilities
            return utilities
        state.take_scores(evaluation, report_broken(swarm, evaluation, examples), swarm)
        state.count(time.perf_counter() - started, len(examples))
        return evaluation.utilities

    def prepare(self, examples: Sequence[Example]) -> None:
        """Let the objective measure what it needs on the base, before anything is scored."""
        self._parts.sharing.measure(
            self.asked_of(self.objective),
            lambda: prepare_objective(self.objective, self.evaluator, self.ranks, examples),
        )

    def on_train_batch_start(self, batch: Sequence[Example], batch_idx: int) -> int | None:
        """End a search whose budget holds no step; what it stands for is settled at the end of the epoch."""
        self._procedure.before_step(batch)
        if not self.particle_swarm.done:
            return None
        self.trainer.should_stop = True
        return -1

    def training_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Do one iteration: move every particle, score it, remember the bests.

        Args:
            batch: The examples that guide the search, M of them.
            batch_idx: Always 0: one batch is one epoch is one iteration.
        """
        started = time.perf_counter()
        self._tidy()
        self.optimizers().step(closure=lambda: self.score(batch))  # type: ignore[union-attr]
        self.state.found_scores = self.state.found_scores.new_zeros(0)  # what was chosen before it is so no more
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LRScheduler)
        schedule.step()
        self.state.seconds += time.perf_counter() - started - self.state.scoring_seconds
        self._measure(batch)
        if self.particle_swarm.done or 0 < self.trainer.max_steps <= self.trainer.global_step:
            self._end(batch)
        self.note_objective(batch)
        # By the names of the loggers and by those of the history, for callbacks that monitor.
        named = for_loggers(self.state.metrics, self._log_particles) | finite(self.state.metrics)
        self.trainer.callback_metrics.update(zip(named, torch.tensor(list(named.values())), strict=True))

    def on_train_batch_end(self, *_: object) -> None:
        """Hand the numbers of the iteration to the loggers, when `log_every_n_steps` says so and at the end.

        As `log_dict` would; but that takes the third part of a millisecond for each of 12 numbers and 3 of every
        particle, longer than a step of a small swarm.
        """
        trainer, metrics = self.trainer, for_loggers(self.state.metrics, self._log_particles)
        step, every = int(metrics.pop("step")), trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.loggers and every and (step % every == 0 or trainer.should_stop):
            values = torch.tensor(list(metrics.values()))
            trainer.logged_metrics.update(zip(metrics, values, strict=True))
            for logger in trainer.loggers:
                logger.log_metrics(dict(zip(metrics, values.tolist(), strict=True)), step=step)
                logger.save()

    def _measure(self, examples: Sequence[Example]) -> None:
        """Keep what can be said of the iteration that has just ended."""
        self.state.parts = self._procedure.parts(examples)
        self.state.metrics = self._procedure.measure(examples)
        if self.state.forward_passes is None:  # the history of older runs has no room
            self.state.metrics.pop("forward_passes", None)

    def _end(self, examples: Sequence[Example]) -> None:
        """Settle what the search stands for, where that is not known by its last step."""
        state = self.state
        if self._procedure.open:
            state.choices, scores = self._procedure.choose(examples)
            parts = state.parts.get(INITIAL, {}) if scores is None else parts_in(self.objective, scores, examples)
            state.parts = {**state.parts, FOUND: parts} if parts else state.parts
            if state.guided:  # where nothing was asked, the best expert was all that there was to choose
                state.found_scores = (state.reported_scores[self.best_initial] if scores is None else scores).clone()
        self.trainer.should_stop = True

    def on_train_epoch_end(self) -> None:
        """Settle it where a callback has ended the search, before the last checkpoint is saved."""
        if self.trainer.should_stop and self.state.evaluation is not None and self._procedure.open:
            self._end(next(iter(self.trainer.train_dataloader or ())))

    def on_train_end(self) -> None:
        """Settle it also where a limit of the trainer has ended the search."""
        if self._procedure.open:
            self._end(next(iter(self.trainer.train_dataloader or ())))

    def score(self, examples: Sequence[Example]) -> Tensor:
        """Score every candidate that is due.

        Args:
            examples: The examples to ask, M of them.

        Returns:
            Utilities [P] float64; NaN for a particle that is not due, and for one whose utility is left open because it
            neither rises above its personal best nor falls below the global worst; -inf for a broken one.
        """
        started = time.perf_counter()
        swarm, state = self.particle_swarm, self.state
        check_same_swarm(self.ranks, swarm, examples)
        evaluation = self.ask_candidates(examples, self._procedure.stakes())
        state.take_scores(evaluation, report_broken(swarm, evaluation, examples), swarm)
        state.count(time.perf_counter() - started, len(examples), swarm.asks_besides)
        return evaluation.utilities

    def on_fit_end(self) -> None:
        """Remove what no checkpoint needs."""
        self._tidy()

    def _tidy(self) -> None:
        self.particle_swarm.space.tidy(self.particle_swarm.held)

    # What comes out of it.

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
            rows: tuple[ResultRow, ...] = ()
            if test:
                with self.results_kept():
                    self.state.tested = self.bests.ask(test)
                rows = self.bests.score(test, asked=self.state.tested)
            self.state.result = self.state.sum_up(self.particle_swarm, self.best_initial, self.pool.names, rows)
        return self.state.result

    def validation_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Score the best initial and the best found expert on the validation split."""
        self._report("validation", self.bests.score(batch, held_back=False))

    def test_step(self, batch: Sequence[Example], batch_idx: int) -> None:
        """Score the best initial and the best found expert and the ensemble, or references, on the test split."""
        size = self.settings.ensemble_size if self.particle_swarm.keeps_bests else 0
        self._report("test", self.bests.score(batch, size, win_rates=True, references=True))

    def _report(self, split: str, rows: tuple[ResultRow, ...]) -> None:
        self.log_dict(metrics_of(rows, split), batch_size=rows[0].examples)
        self.state.rows = rows

    def predict_step(self, batch: Sequence[Example], batch_idx: int) -> list[dict[str, str]]:
        """Answer prompts, examples made from a file of them, with the best found expert; see `Bests.answer`."""
        return self.bests.answer(batch, self.tokenizer)

    def release_swarm(self) -> None:
        """Let go of the weights of a swarm in memory that is not asked any more; the next `fit` makes a new one."""
        self._population.release()
