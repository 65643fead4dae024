"""Optuna's study of a sweep: opened or gone on with, and its trials shared out among processes.

A trial belongs to whoever holds its lock. One that is running and that nobody holds was interrupted: the next process
that looks for work goes on with it.
"""

import json
import logging
import platform
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_lightning.differences import differences_between
from swarm_lightning.doors.optuna import taken_up
from swarm_lightning.errors import InputError
from swarm_lightning.files import storage_errors
from swarm_lightning.locks import lock, lock_if_free
from swarm_lightning.runs.run_folder import remove_if_empty
from swarm_lightning.sweep.settings import PLACE, SETTINGS, SweepSettings
from swarm_lightning.sweep.space import DrawnSpace, draw_settings, size

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

DATABASE = "study.db"
LOCKS = "locks"
# In an identity: what the files that were given hold, and not what they are called.
# Of machines that make the tables of a new database at the same moment, Optuna lets one succeed.
ATTEMPTS, SECONDS_BETWEEN_ATTEMPTS = 3, 0.3
# What is kept with the study.
IDENTITY, TEST = "identity", "test_of_trial_"


class SweepStudy:
    """A study in a folder.

    Attributes:
        count: Searches that there are to be, of all processes together.
    """

    def __init__(self, folder: Path, settings: SweepSettings, space: DrawnSpace, identity: Mapping[str, Any]) -> None:
        """Open the study, or make it.

        Args:
            folder: The sweep's folder.
            settings: How it is drawn.
            space: What is drawn.
            identity: What makes this sweep this one: nested plain values.

        Raises:
            InputError: If Optuna is not installed, the storage can't be opened, the study is another sweep's, or the
                folder holds something else. Nothing is left behind then.
        """
        require_optuna()
        self.folder = folder
        self.settings = settings
        self.space = space
        self.count = settings.count(size(space))
        check_folder(folder)
        with storage_errors(folder), lock(folder / LOCKS / "study"):
            new = not (folder / LOCKS / "place").exists()
            try:
                self.place = _place(folder)
                self.study = _open(folder, settings)
                saved = self.study.user_attrs.get(IDENTITY)
                if saved is None:
                    self.study.set_user_attr(IDENTITY, json.dumps(identity))
                else:
                    _check_same(json.loads(saved), json.loads(json.dumps(identity)), folder, settings)
            except InputError:
                if new:
                    _remove(folder)
                raise

    @contextmanager
    def next_trial(self) -> "Iterator[tuple[Trial, dict[str, Any]] | None]":
        """Lend the next trial with its settings: one that was interrupted, or a new one; None if there is none left.

        It is this process's alone as long as a `with` block lasts.
        """
        with ExitStack() as held:
            with lock(self.folder / LOCKS / "study"):
                claimed = self._claim(held)
            yield claimed

    def _claim(self, held: ExitStack) -> "tuple[Trial, dict[str, Any]] | None":
        """Take the lock of a trial that was interrupted, or else of a new one."""
        from optuna.trial import TrialState

        for frozen in self.trials(TrialState.RUNNING):
            if self.is_here(frozen) and held.enter_context(lock_if_free(self._lock_of(frozen.number))):
                trial = taken_up(self.study, frozen)
                settings = self._drawn(trial)
                if settings is not None:
                    return trial, settings
        while len(self.trials()) < self.count:
            trial = self.study.ask()
            trial.set_user_attr(PLACE, [self.place, f"{platform.node()}:{self.folder.resolve()}"])
            settings = self._drawn(trial)
            if settings is not None:
                held.enter_context(lock_if_free(self._lock_of(trial.number)))
                return trial, settings
        return None

    def _drawn(self, trial: "Trial") -> "dict[str, Any] | None":
        """Return a trial's settings, drawn where it has none; None if a process elsewhere has made it needless."""
        from optuna.trial import TrialState

        from swarm_lightning.sweep.sampler import SURPLUS, WithoutRepeats, drawn

        self.study.sampler = WithoutRepeats(self.settings.sampler, self.space, self.settings.seed, trial.number)
        settings = draw_settings(self.space, trial)
        if SETTINGS in trial.user_attrs:
            return settings
        others = drawn(self.study)
        others.pop(trial.number, None)
        # Processes without a common disk may ask at the same moment: for one trial too many, or for the same settings.
        if sum(number < trial.number for number in others) < self.count and trial.params not in others.values():
            return settings
        trial.set_user_attr(SURPLUS, True)
        self.study.tell(trial, None, TrialState.FAIL)
        return None

    def tell(self, trial: "Trial", state: str, utility: float | None = None) -> None:
        """Note how a trial has ended.

        Args:
            trial: Of Optuna.
            state: COMPLETE, PRUNED or FAIL.
            utility: On the validation split, of a trial that is complete.
        """
        from optuna.trial import TrialState

        self.study.tell(trial, utility, TrialState[state])

    def trials(self, *states: Any) -> "list[FrozenTrial]":
        """Return the trials in these states, all if none is named; without those that were one too many."""
        from swarm_lightning.sweep.sampler import SURPLUS

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

    def is_here(self, trial: "FrozenTrial") -> bool:
        """Tell whether a trial's folder and lock lie here: another machine may work for the same study elsewhere."""
        unknown = self.place if self.settings.storage is None else None  # it was killed before it said so
        return trial.user_attrs.get(PLACE, [unknown])[0] == self.place

    def tests_of(self, number: int) -> dict[str, float] | None:
        """Return the test utilities of a search's best initial and best found expert; None where none was asked for."""
        found: dict[str, float] | None = self.study.user_attrs.get(f"{TEST}{number}")
        return found

    def keep_tests(self, number: int, utilities: Mapping[str, float]) -> None:
        """Keep these test utilities for all that share the study."""
        self.study.set_user_attr(f"{TEST}{number}", dict(utilities))

    def _lock_of(self, number: int) -> Path:
        return self.folder / LOCKS / f"trial_{number:04d}"


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a sweep.

    Raises:
        InputError: If it does, or is no folder.
    """
    if folder.is_dir() and (LOCKS in (names := {entry.name for entry in folder.iterdir()}) or not names):
        return
    if folder.exists():
        raise InputError(
            f"Expected the folder of a sweep at {str(folder)!r}, or none yet, but there is something else. Choose "
            "another sweep.study."
        )


def _remove(folder: Path) -> None:
    """Remove what was made of the folder of a study that was refused, while it is locked; nothing of anybody else's."""
    for name in ("place", "study"):
        with suppress(OSError):
            (folder / LOCKS / name).unlink()
    remove_if_empty(folder / LOCKS)
    remove_if_empty(folder)
    remove_if_empty(folder.parent)


def require_optuna() -> None:
    """Refuse to go on without Optuna.

    Raises:
        InputError: If it is not installed.
    """
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
    for attempt in range(ATTEMPTS):
        try:
            return optuna.create_study(
                storage=RDBStorage(url, engine_kwargs=connection),
                study_name=settings.study,
                direction="maximize",
                pruner=pruner,
                load_if_exists=True,
            )
        except Exception as error:  # those of SQLAlchemy and of every database's driver
            if attempt < ATTEMPTS - 1:
                time.sleep(SECONDS_BETWEEN_ATTEMPTS)
                continue
            shown = re.sub(r"(?<=://)[^/]*@", "***@", url)  # without a password
            raise InputError(
                f"Expected a storage of Optuna at {shown!r}, but: {str(error).splitlines()[0]}. Check sweep.storage, "
                "and that the driver of that database is installed."
            ) from error
    raise AssertionError("The last attempt returns or raises.")


def _place(folder: Path) -> str:
    """Return what tells this folder from those of other machines."""
    path = folder / LOCKS / "place"
    if not path.is_file() or not path.read_text():
        path.write_text(uuid.uuid4().hex)
    return path.read_text()


def _check_same(saved: Mapping[str, Any], present: Mapping[str, Any], folder: Path, settings: SweepSettings) -> None:
    differences = differences_between(saved, present, "there")
    if differences:
        raise InputError(
            f"Expected to continue the study {settings.study!r} in {str(folder)!r} with its original settings, but "
            f"{'; '.join(differences)}. Restore them, or choose another sweep.study."
        )
