"""One search of a sweep: an ordinary one that shares what is loaded, and what was asked, with the others."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import lightning as L

from swarm_lightning.data.examples import Example
from swarm_lightning.differences import flatten
from swarm_lightning.evaluation.ranks import digest
from swarm_lightning.evaluation.score_journal import ScoreJournal
from swarm_lightning.objectives.protocol import KeepsState, MeasuresTheBase
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.objective_state import load_objective_state, objective_state
from swarm_lightning.search.resident import Resident
from swarm_lightning.search.resume import identity_of, settings_of
from swarm_lightning.sweep.first_scores import FirstScores, SharedEvaluation
from swarm_lightning.sweep.report import KEPT

if TYPE_CHECKING:
    from optuna.trial import Trial

    from swarm_lightning.evaluation.evaluator import Evaluation
    from swarm_lightning.evaluation.exact_stop import Stakes


# Keys that say how a swarm moves, how long, and what is written: they change nothing about a position's scores. That of
# the seed is in the position, in the data, and in what replies are drawn by.
NOT_ASKED_BY = (
    "seed_everything", "model.experts", "model.particles", "model.child_span", "model.start", "model.draws",
    "model.optimizer", "model.scheduler", "model.ensemble_size", "model.storage", "restart", "stop",
    "trainer.max_steps", "trainer.max_epochs", "trainer.max_time",
)  # fmt: skip


def asked_by(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the drawn settings that may change the scores of a position.

    What a search knows of itself may not say it all, so searches share scores only where these are the same.

    >>> asked_by({"model.optimizer.init_args.lr": 0.5, "model.objective.init_args.max_new_tokens": 3})
    {'model.objective.init_args.max_new_tokens': 3}
    """
    return {
        key: value
        for key, value in settings.items()
        if not any(key == name or key.startswith(f"{name}.") for name in NOT_ASKED_BY)
    }


class Shared:
    """What the searches of one process share.

    Attributes:
        first_scores: The scores of first positions, shared with other processes too.
        with_test: Whether a search that ends is scored on the test split: the best one only is.
    """

    def __init__(self, first_scores: FirstScores) -> None:
        """Begin with nothing loaded.

        Args:
            first_scores: Where scores of first positions are kept.
        """
        self.first_scores = first_scores
        self.with_test = False
        self._loaded: tuple[object, Resident] | None = None

    def resident(self, module: "TrialSwarm") -> Resident:
        """Return what a search needs loaded; it stays until a search needs something else."""
        device = module.trainer.strategy.root_device
        key = (module.base, module.base_dtype, device, module.trust_remote_code, module.pool.fingerprint)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # two bases may not fit into the memory
            self._loaded = (key, super(TrialSwarm, module).load_resident())
        return self._loaded[1]


class TrialSwarm(ModelSwarm):
    """A search of a sweep.

    Attributes:
        shared: What it shares with the others; nothing where None.
        drawn: The settings of it that were drawn and may change the scores of a position; see `asked_by`.
    """

    shared: Shared | None = None
    drawn: Mapping[str, Any] = MappingProxyType({})

    def load_resident(self) -> Resident:
        """Take the base that is in memory, where it is the same."""
        return super().load_resident() if self.shared is None else self.shared.resident(self)

    @property
    def held_back(self) -> Sequence[Example]:
        """The test split, which only the best search of a sweep is scored on."""
        return super().held_back if self.shared is None or self.shared.with_test else ()

    def prepare(self, examples: Sequence[Example]) -> None:
        """Let the objective measure the base, or take over what it has measured for another search of the sweep."""
        measures = isinstance(self.objective, MeasuresTheBase) and isinstance(self.objective, KeepsState)
        if self.shared is None or not measures:
            super().prepare(examples)
            return
        filed, what = self.shared.first_scores, self._asked_of("base")
        with filed.alone(what):
            state = filed.state(what)
            if state is None:
                super().prepare(examples)
                filed.keep_state(what, objective_state(self.objective))
            else:
                load_objective_state(self.objective, state)

    def evaluate(self, examples: Sequence[Example], stakes: "Stakes | None", journal: ScoreJournal) -> "Evaluation":
        """Ask the particles, but of first positions only those that no search of the sweep has asked."""
        if self.shared is None or self.particle_swarm.begun:
            return super().evaluate(examples, stakes, journal)
        filed, positions = self.shared.first_scores, self.particle_swarm.vectors(self.positions.data)
        what = self._asked_of("base", "experts") | {"state": objective_state(self.objective)}
        with filed.alone(what):
            keys = filed.keys(positions, what, numbered=samples_replies(self.objective))
            missing = filed.missing(keys)
            found = self.evaluator.evaluate(positions, examples, missing, journal=journal)
            filed.keep(keys, found, missing)
        whole = filed.complete(keys, found, missing)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ReportToStudy):
                callback.note_first(whole)
        return whole

    def _asked_of(self, *parts: str) -> dict[str, Any]:
        """Return what the answers of these parts of a search depend on, beside the position."""
        identity = identity_of(self)
        return {
            **{name: identity[name] for name in (*parts, "data", "objective")},
            "seed": self.seed if samples_replies(self.objective) else None,
            "dtype": self.base_dtype,
            "device": self.trainer.strategy.root_device.type,
            "drawn": dict(self.drawn),
        }


def samples_replies(objective: object) -> bool:
    """Tell whether replies may be drawn: then they depend on the seed and the place of a particle in the swarm too.

    Args:
        objective: One of this package says so by a temperature; one of the user's own may do anything.
    """
    if not type(objective).__module__.startswith("swarm_lightning."):
        return True
    held = [part for value in vars(objective).values() for part in _parts(value) if hasattr(part, "evaluate")]
    if any(samples_replies(part) for part in held):
        return True
    settings = flatten(settings_of(objective))
    return any(name.endswith("temperature") and value for name, value in settings.items())


def _parts(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


class ReportToStudy(L.Callback):
    """Tells the study after every iteration how a search stands, and ends one that has no prospects.

    Attributes:
        pruned: Whether the study's pruner has ended the search.
        facts: What is known of the search, by the names of `report.FACTS`; kept with the trial after every iteration.
    """

    def __init__(self, trial: "Trial") -> None:
        """Keep the trial.

        Args:
            trial: Of Optuna.
        """
        self.pruned = False
        self._trial = trial
        frozen = next(found for found in trial.study.get_trials(deepcopy=False) if found.number == trial.number)
        self._reported = set(frozen.intermediate_values)
        self.facts: dict[str, Any] = dict(frozen.user_attrs.get(KEPT, {}))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what the search is measured by; do no further iteration where a resumed one had no prospects."""
        assert isinstance(pl_module, ModelSwarm)
        if pl_module.splits is not None:
            self.facts["data"] = digest([example.fingerprint for example in pl_module.splits.validation])
        if pl_module.particle_swarm.begun:
            self._prune_if_hopeless(trainer)

    def note_first(self, evaluation: SharedEvaluation) -> None:
        """Keep how much of the first positions is asked by this search, before any checkpoint holds them.

        Args:
            evaluation: Of the first positions.
        """
        self.keep(asked_first=evaluation.evaluated, taken=evaluation.taken, evaluations=evaluation.evaluated)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the global best; once for every iteration, also where it is done again after an interruption."""
        assert isinstance(pl_module, ModelSwarm)
        iteration = int(pl_module.swarm.iterations)
        # A search may fail, or be killed and never gone on with.
        self.keep(iterations=iteration, evaluations=pl_module.evaluations)
        if iteration not in self._reported:
            self._trial.report(float(pl_module.swarm.global_best_utility), iteration)
            self._reported.add(iteration)
        self._prune_if_hopeless(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report what a search that has ended early would have reported: others are compared with it later on."""
        from optuna.pruners import NopPruner

        assert isinstance(pl_module, ModelSwarm)
        if self.pruned or isinstance(self._trial.study.pruner, NopPruner):
            return
        for iteration in range(int(pl_module.swarm.iterations) + 1, trainer.max_steps + 1):
            if iteration not in self._reported:
                self._trial.report(float(pl_module.swarm.global_best_utility), iteration)

    def keep(self, **facts: Any) -> None:
        """Keep what is known of the search with the trial."""
        self.facts |= facts
        self._trial.set_user_attr(KEPT, self.facts)

    def _prune_if_hopeless(self, trainer: L.Trainer) -> None:
        if self._reported and self._trial.should_prune():
            self.pruned = trainer.should_stop = True
