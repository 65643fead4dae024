"""Loads tasks of the lm-evaluation-harness: built-in ones by name, a user's own by the path of their YAML.

A task is Python as well as YAML: loading one runs the code that it names, which for the built-in tasks is part of the
harness, and for a user's own is the user's. Datasets with code of their own are never run. Documents are read once and
with fixed random numbers, because some tasks shuffle their choices whenever they are read.
"""

import difflib
import functools
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm_lightning.errors import InputError
from swarm_lightning.paths import locate

PREFIX = "lm_eval:"
# What `lm_eval.simple_evaluate` sets before it loads its tasks.
PYTHON_SEED, NUMPY_SEED = 0, 1234


@dataclass(frozen=True)
class LoadedTask:
    """A task of the harness with its documents, by the part they can play here.

    Attributes:
        name: The harness's name of the task.
        task: The harness's task object.
        readers: Split -> function that reads its documents. `test` are those that the harness itself evaluates,
            `validation` others that can guide a search; a task without others has the single split "".
        kinds: Split -> what the harness calls these documents: test, validation or training.
    """

    name: str
    task: Any
    readers: Mapping[str, Callable[[], Any]]
    kinds: Mapping[str, str]
    _documents: dict[str, list[Any]] = field(default_factory=dict, repr=False)

    def stored(self, split: str) -> str | None:
        """Return what the dataset calls a split; None where the task's own code reads it from elsewhere."""
        name = getattr(self.task.config, f"{self.kinds[split]}_split")
        return None if name is None else str(name)

    @property
    def shown(self) -> str | None:
        """What the dataset calls the split with the task's in-context examples; None where they are written down."""
        settings, config = self.task.fewshot_cfg, self.task.config
        if settings.split is not None or settings.samples is not None:
            return None if settings.split is None else str(settings.split)
        return config.training_split or config.validation_split or config.test_split

    def documents(self, split: str) -> list[Any]:
        """Return the documents of a split, in the harness's order; read on first use.

        Raises:
            InputError: If the task's dataset has no such split, or the task's own code fails.
        """
        if split not in self._documents:
            with calm(), task_code(f"the {self.kinds[split]} documents of {self.name!r}"):
                self._documents[split] = list(self.readers[split]())
        return self._documents[split]


@functools.cache
def load_tasks(spec: str) -> Mapping[str, LoadedTask]:
    """Load a task, or all tasks of a group or tag; the same ones for the same name in one process.

    Args:
        spec: Name of a task, group or tag of the harness, or path of a task's YAML or of a folder with such files; a
            name in the demo world (`demo:...`) is a path too.

    Returns:
        The tasks by name, one or more.

    Raises:
        InputError: If the harness is not installed, there is nothing of that name, or it can't be loaded.
    """
    _check_installed()
    with calm():
        path = Path(locate(spec)).expanduser()
        if path.exists():
            loaded = _load_path(path, spec)
        elif path.suffix in (".yaml", ".yml") or spec.startswith((".", "/", "~")):
            raise InputError(f"Expected the YAML of a task at {spec!r}, but there is none.")
        else:
            loaded = _load_name(spec)
    return {name: _sort_splits(name, task) for name, task in loaded.items()}


@contextmanager
def calm() -> Iterator[None]:
    """Let tasks work: with random numbers of their own, and without hints and bars on the screen.

    What a task draws does not depend on what was drawn before, and the process's random numbers stay as they are.
    """
    import numpy
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger, shown = logging.getLogger("lm_eval"), not are_progress_bars_disabled()
    level, states = logger.level, (random.getstate(), numpy.random.get_state())
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    reseed()
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            enable_progress_bars()
        random.setstate(states[0])
        numpy.random.set_state(states[1])


def reseed() -> None:
    """Begin the random numbers of tasks anew; only inside of `calm`, which gives the process's own back."""
    import numpy

    random.seed(PYTHON_SEED)
    numpy.random.seed(NUMPY_SEED)


@contextmanager
def task_code(what: str) -> Iterator[None]:
    """Turn whatever a task's own code, templates or dataset raise into an error that says where.

    Args:
        what: What was wanted of the task, for the message.

    Raises:
        InputError: In place of any other exception.
    """
    try:
        yield
    except InputError:
        raise
    # Tasks run code of their own and read datasets over the network: dozens of errors with no ancestor in common.
    except Exception as error:
        cause = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        raise InputError(
            f"Expected to get {what} from the lm-evaluation-harness, but it raised {cause.rstrip('.')}. Check the "
            "task's YAML and, where its dataset is on the hub, the connection."
        ) from error


def _check_installed() -> None:
    import datasets

    try:
        import lm_eval.tasks  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"Expected the package lm_eval, which brings the tasks, but importing it gave: {error}. Install it: "
            "pip install 'swarm-lightning[lm-eval]'."
        ) from error
    if int(datasets.__version__.split(".")[0]) < 4:
        raise InputError(
            f"Expected the package datasets in version 4 or newer, which never runs code that comes with a dataset, "
            f"but got {datasets.__version__}. Install it: pip install 'swarm-lightning[lm-eval]'."
        )


def _load_name(name: str) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    if name not in manager.all_tasks:
        close = difflib.get_close_matches(name, manager.all_tasks, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise InputError(
            f"Expected a task of the lm-evaluation-harness or the path of a task's YAML behind {PREFIX!r}, but there "
            f"is no {name!r}.{hint} `lm-eval ls tasks` lists the tasks."
        )
    with task_code(f"the task {name!r} with its dataset"):
        return dict(manager.load(name)["tasks"])


def _load_path(path: Path, spec: str) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    if path.is_file():
        with task_code(f"the task in {str(path)!r} with its dataset"):
            return dict(TaskManager(include_defaults=False).load(str(path))["tasks"])
    manager = TaskManager(include_path=str(path), include_defaults=False)
    names = manager.all_groups if len(manager.all_groups) == 1 else manager.all_subtasks
    if len(names) != 1:
        raise InputError(
            f"Expected one task or one group in the folder {spec!r}, but there are {len(names)}"
            f"{': ' if names else ''}{', '.join(names[:5])}. Name the YAML of one of them."
        )
    with task_code(f"{names[0]!r} in {spec!r} with its dataset"):
        return dict(manager.load(names[0])["tasks"])


def _sort_splits(name: str, task: Any) -> LoadedTask:
    """Say which documents test and which can guide, without a document that does both."""
    from lm_eval.api.task import ConfigurableTask

    if not isinstance(task, ConfigurableTask):
        raise InputError(
            f"Expected a task that is written as YAML, or a class derived from ConfigurableTask, but {name!r} is a "
            f"{type(task).__name__}. Write it as YAML."
        )
    if getattr(task, "MULTIMODAL", False):
        raise InputError(f"Expected a task of text alone, but {name!r} shows images or sounds to the model.")
    there = {
        kind: reader
        for kind, has, reader in (
            ("test", task.has_test_docs, task.test_docs),
            ("validation", task.has_validation_docs, task.validation_docs),
            ("training", task.has_training_docs, task.training_docs),
        )
        if has()
    }
    evaluated = next(kind for kind in there if kind in ("test", "validation"))  # the harness refuses tasks without
    stored = {kind: getattr(task.config, f"{kind}_split") for kind in there}
    # Some tasks read the same documents under two of these words.
    others = [kind for kind in there if kind != evaluated and (stored[kind] or kind) != stored[evaluated]]
    if not others:
        return LoadedTask(name, task, {"": there[evaluated]}, {"": evaluated})
    kinds = {"validation": others[0], "test": evaluated}
    if len(others) > 1:
        kinds["training"] = others[1]
    return LoadedTask(name, task, {split: there[kind] for split, kind in kinds.items()}, kinds)


def splits_of(tasks: Sequence[LoadedTask]) -> list[str]:
    """Return the splits that all tasks have.

    Raises:
        InputError: If some tasks of a group can be split only by drawing, and others bring their splits along.
    """
    first = tasks[0]
    for other in tasks[1:]:
        if ("" in first.kinds) != ("" in other.kinds):
            alone, split = (first, other) if "" in first.kinds else (other, first)
            raise InputError(
                f"Expected all tasks of a group to have documents for validation and for test, but {alone.name!r} has "
                f"{alone.kinds['']} documents only, unlike {split.name!r}. Name one task of the group."
            )
    return [split for split in first.kinds if all(split in other.kinds for other in tasks)]
