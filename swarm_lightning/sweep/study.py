"""Optuna's study of a sweep: opened or gone on with, and its trials shared out among processes.

A trial belongs to whoever holds its lock. One that is running and that nobody holds was interrupted: the next process
that looks for work goes on with it.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_lightning.errors import InputError
from swarm_lightning.locks import lock, lock_if_free
from swarm_lightning.search.resume import flatten
from swarm_lightning.sweep.settings import SweepSettings
from swarm_lightning.sweep.space import Space, draw_settings

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

DATABASE = "study.db"
LOCKS = "locks"
IDENTITY, PLACE, SURPLUS = "identity", "place", "surplus"


class SweepStudy:
    """A study in a folder."""

    def __init__(self, folder: Path, settings: SweepSettings, space: Space, identity: Mapping[str, Any]) -> None:
        """Open the study, or make it.

        Args:
            folder: The sweep's folder.
            settings: How it is drawn.
            space: What is drawn.
            identity: What makes this sweep this one: nested plain values.

        Raises:
            InputError: If Optuna is not installed, the storage can't be opened, or the study is another sweep's.
        """
        self.folder = folder
        self.settings = settings
        self.space = space
        _require_optuna()
        with lock(folder / LOCKS / "study"):
            self.place = _place(folder)
            self.study = _open(folder, settings)
            saved = self.study.user_attrs.get(IDENTITY)
            if saved is None:
                self.study.set_user_attr(IDENTITY, json.dumps(identity))
            else:
                _check_same(json.loads(saved), json.loads(json.dumps(identity)), folder, settings)

    @contextmanager
    def next_trial(self) -> "Iterator[tuple[Trial, dict[str, Any]] | None]":
        """Lend the next trial with its settings: one that was interrupted, or a new one; None if there is none left.

        It is this process's alone as long as a `with` block lasts.
        """
        from optuna.trial import Trial

        with ExitStack() as held:
            with lock(self.folder / LOCKS / "study"):
                frozen = self._claim(held)
            if frozen is None:
                yield None
                return
            # Draws depend on the seed and the number of the trial, not on who makes it and what came before.
            self.study.sampler = self._sampler(frozen.number)
            trial = Trial(self.study, frozen._trial_id)
            yield trial, draw_settings(self.space, trial)

    def _claim(self, held: ExitStack) -> "FrozenTrial | None":
        """Take the lock of a trial that was interrupted, or else of a new one."""
        from optuna.trial import TrialState

        for frozen in self.trials(TrialState.RUNNING):
            if self._is_ours(frozen) and held.enter_context(lock_if_free(self._lock_of(frozen.number))):
                return frozen
        if len(self.trials()) >= self.settings.trials:
            return None
        frozen = self._ask()
        held.enter_context(lock_if_free(self._lock_of(frozen.number)))
        return frozen

    def tell(self, trial: "Trial", state: str, utility: float | None = None) -> None:
        """Note how a trial has ended.

        Args:
            trial: Of Optuna.
            state: COMPLETE, PRUNED or FAIL.
            utility: On the validation split, of a trial that is complete.
        """
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState

        self.study.sampler = RandomSampler()  # that of a grid would stop a loop that is not Optuna's
        self.study.tell(trial, utility, TrialState[state])

    def trials(self, *states: Any) -> "list[FrozenTrial]":
        """Return the trials in these states, all if none is named; without those that were one too many."""
        found = self.study.get_trials(deepcopy=False, states=states or None)
        return [trial for trial in found if SURPLUS not in trial.user_attrs]

    def best(self) -> "FrozenTrial | None":
        """Return the trial that ended with the highest utility, the first of equals; None if none has ended."""
        from optuna.trial import TrialState

        ended = self.trials(TrialState.COMPLETE)
        return max(ended, key=lambda trial: (trial.value, -trial.number), default=None)

    def folder_of(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / f"trial_{number:04d}"

    def _ask(self) -> "FrozenTrial":
        while True:
            self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
            trial = self.study.ask()
            trial.set_user_attr(PLACE, self.place)
            frozen = next(found for found in self.study.get_trials(deepcopy=False) if found.number == trial.number)
            if trial.number < self.settings.trials or len(self.trials()) <= self.settings.trials:
                return frozen
            # A process elsewhere has asked at the same moment.
            trial.set_user_attr(SURPLUS, True)
            self.tell(trial, "FAIL")

    def _is_ours(self, trial: "FrozenTrial") -> bool:
        """Tell whether the lock of a trial lies here: another machine may work for the same study elsewhere."""
        return trial.user_attrs.get(PLACE, self.place if self.settings.storage is None else None) == self.place

    def _lock_of(self, number: int) -> Path:
        return self.folder / LOCKS / f"trial_{number:04d}"

    def _sampler(self, number: int) -> "BaseSampler":
        from optuna.samplers import GridSampler, RandomSampler, TPESampler

        text = f"{self.settings.seed} {number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        if self.settings.sampler == "grid":
            grid = {key: values.grid for key, values in self.space.items()}
            return GridSampler(grid, seed=self.settings.seed)
        return TPESampler(seed=seed) if self.settings.sampler == "tpe" else RandomSampler(seed=seed)


def _require_optuna() -> None:
    if find_spec("optuna") is None:
        raise InputError(
            "Expected the package optuna, which keeps the study of a sweep, but it is not installed. Install the extra "
            "`sweep`: pip install 'swarm-lightning[sweep]'."
        )


def _open(folder: Path, settings: SweepSettings) -> "Study":
    import optuna
    from optuna.pruners import MedianPruner, NopPruner
    from optuna.storages import RDBStorage

    optuna.logging.set_verbosity(logging.WARNING)
    url = settings.storage or f"sqlite:///{(folder / DATABASE).resolve()}"
    # SQLite makes one process wait while another writes.
    connection = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    pruner = MedianPruner(5, settings.pruner_warmup) if settings.pruner == "median" else NopPruner()
    try:
        return optuna.create_study(
            storage=RDBStorage(url, engine_kwargs=connection),
            study_name=settings.study,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
    except Exception as error:  # those of SQLAlchemy and of every database's driver
        raise InputError(
            f"Expected a storage of Optuna at {url!r}, but: {str(error).splitlines()[0]}. Check sweep.storage, and "
            "that the driver of that database is installed."
        ) from error


def _place(folder: Path) -> str:
    """Return what tells this folder from those of other machines."""
    path = folder / LOCKS / "place"
    if not path.is_file():
        path.write_text(uuid.uuid4().hex)
    return path.read_text()


def _check_same(saved: Mapping[str, Any], present: Mapping[str, Any], folder: Path, settings: SweepSettings) -> None:
    then, now = flatten(saved), flatten(present)
    differences = [
        f"{name} is {now.get(name)!r}, there {then.get(name)!r}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    if differences:
        raise InputError(
            f"Expected to go on with the study {settings.study!r} in {str(folder)!r} with the settings that it was "
            f"begun with, but {'; '.join(differences)}. Set them as they were, or choose another sweep.study."
        )
