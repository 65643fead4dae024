"""One search of a sweep: an ordinary one that shares what is loaded, and what was asked, with the others."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.differences import flatten
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.evaluation.ranks import digest
from swarm_lightning.objectives.protocol import KeepsState, MeasuresTheBase
from swarm_lightning.search.model_swarm import ModelSwarm
from swarm_lightning.search.objective import load_objective_state, objective_state
from swarm_lightning.search.parts import Asked, Resident
from swarm_lightning.search.settings import settings_of
from swarm_lightning.sweep.first_scores import FirstScores, SharedEvaluation
from swarm_lightning.sweep.settings import KEPT
from swarm_lightning.vectors import Vectors

if TYPE_CHECKING:
    from optuna.trial import Trial

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
        with_test: Whether a search that ends is scored on the test split: as a rule the best one only is.
        also_test: Further datasets on whose test splits it is scored then.
    """

    def __init__(self, first_scores: FirstScores) -> None:
        """Begin with nothing loaded.

        Args:
            first_scores: Where the scores of first positions are kept.
        """
        self.first_scores = first_scores
        self.with_test = False
        self.also_test: tuple[str, ...] = ()
        self._loaded: tuple[object, Resident] | None = None

    def resident(self, key: object, load: Callable[[], Resident]) -> Resident:
        """Return what a search needs loaded; it stays until a search needs something else."""
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # two bases may not fit into the memory
            self._loaded = (key, load())
        return self._loaded[1]


class TrialSharing:
    """What one search of a sweep shares with the others; follows `Sharing`."""

    def __init__(
        self, shared: Shared, drawn: Mapping[str, Any], note_first: Callable[[SharedEvaluation], None] | None = None
    ) -> None:
        """Say what it shares with them, and in what it differs.

        Args:
            shared: What the searches of this process share.
            drawn: The settings of it that were drawn and may change the scores of a position; see `asked_by`.
            note_first: Is told how much of the first positions was asked.
        """
        self._shared = shared
        self._drawn = dict(drawn)
        self._note_first = note_first

    def resident(self, key: object, load: Callable[[], Resident]) -> Resident:
        """Take the base that is in memory, where it is the same."""
        return self._shared.resident(key, load)

    def held_back(self, test: Sequence[Example]) -> Sequence[Example]:
        """Return the test split, where searches of the sweep are scored on it: as a rule the best one only."""
        return test if self._shared.with_test else ()

    def measure(self, asked: Asked, measure: Callable[[], None]) -> None:
        """Let the objective measure the base, or take over what it has measured for another search of the sweep."""
        objective = asked.objective
        if not (isinstance(objective, MeasuresTheBase) and isinstance(objective, KeepsState)):
            measure()
            return
        filed, what = self._shared.first_scores, self._filed_under(asked, "base")
        with filed.alone(what):
            state = filed.state(what)
            if state is None:
                measure()
                filed.keep_state(what, objective_state(objective))
            else:
                load_objective_state(objective, state)

    def first_scores(self, asked: Asked, positions: Vectors, ask: Callable[[Tensor], Evaluation]) -> Evaluation:
        """Ask only those of the first positions that no search of the sweep has asked."""
        filed = self._shared.first_scores
        what = self._filed_under(asked, "base", "experts") | {"state": objective_state(asked.objective)}
        with filed.alone(what):
            keys = filed.keys(positions, what, numbered=samples_replies(asked.objective))
            missing = filed.missing(keys)
            found = ask(missing)
            filed.keep(keys, found, missing)
        whole = filed.complete(keys, found, missing)
        if self._note_first is not None:
            self._note_first(whole)
        return whole

    def _filed_under(self, asked: Asked, *parts: str) -> dict[str, Any]:
        """Return what the answers of these parts of a search depend on, beside the position."""
        return {
            **{name: asked.identity[name] for name in (*parts, "data", "objective")},
            "seed": asked.seed if samples_replies(asked.objective) else None,
            "dtype": asked.dtype,
            "device": asked.device,
            "drawn": self._drawn,
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
        self.keep(iterations=iteration, evaluations=pl_module.state.evaluations)
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
