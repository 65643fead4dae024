"""What a sweep varies: keys of a config with lists of values or ranges.

Pure functions on plain nested mappings. A key may leave out `init_args`, as flags may: `model.optimizer.inertia`.
"""

import copy
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from swarm_lightning.differences import is_plain
from swarm_lightning.errors import InputError

# A sweep is one config's: these say where it writes, on what it runs, and what it is.
FIXED = (
    "trainer.default_root_dir", "trainer.accelerator", "trainer.num_nodes", "trainer.strategy",
    "trainer.logger", "model.state_folder", "checkpoint", "history", "replies", "export_best", "ckpt_path", "config",
    "sweep", "subcommand", "page",
)  # fmt: skip
INSIDE = "init_args"
VARIANT = "variant"  # what the choice among settings that go together is called in a study
Plain = None | bool | int | float | str


class Suggests(Protocol):
    """What a trial of Optuna can draw."""

    def suggest_categorical(self, name: str, choices: Sequence[Plain], /) -> Any:
        """Draw one of several values."""

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        """Draw a whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draw a number."""


@dataclass(frozen=True)
class Choice:
    """One of several values; those that are no plain values are drawn by their JSON text."""

    values: tuple[Any, ...]

    def draw(self, name: str, draws: Suggests) -> Any:
        """Draw a value."""
        by_label = dict(zip(self.labels, self.values, strict=True))
        return copy.deepcopy(by_label[draws.suggest_categorical(name, self.labels)])

    @property
    def labels(self) -> list[Plain]:
        """What Optuna knows the values by."""
        return [value if is_plain(value) else json.dumps(value, sort_keys=True) for value in self.values]

    @property
    def grid(self) -> list[Any]:
        """What a grid goes through."""
        return list(self.labels)

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def samples(self) -> list[Any]:
        """Values that show whether the config takes all of them."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included; only those `step` apart from `low`, where it is given."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn: where all that was given is whole."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    def draw(self, name: str, draws: Suggests) -> Any:
        """Draw a value."""
        if self.whole:
            return draws.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return draws.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    @property
    def grid(self) -> list[Any]:
        """What a grid goes through; empty where there is no step."""
        step = self.step or (1 if self.whole else 0)
        if not step or self.log:
            return []
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return [self.low + place * step for place in range(count)]

    @property
    def count(self) -> int | None:
        """How many values there are; None where any number between the bounds may be drawn."""
        return len(self.grid) or (int(self.high - self.low) + 1 if self.whole else None)

    @property
    def samples(self) -> list[Any]:
        """Values that show whether the config takes all of them: both ends, and one between that is no whole number."""
        between = [] if self.whole else [self.low + (self.step or (self.high - self.low) / math.e)]
        return [self.low, *between, self.high]


@dataclass(frozen=True)
class Variants(Choice):
    """One of several named groups of settings.

    Attributes:
        settings: Full key of the config -> value, by the name of the group.
    """

    settings: Mapping[str, Mapping[str, Any]]


DrawnSpace = dict[str, Choice | Range]


def read_space(
    space: Mapping[str, Any], config: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]] | None = None
) -> DrawnSpace:
    """Read a sweep's space.

    Args:
        space: Key -> list of values, or mapping with `low`, `high` and perhaps `step` and `log`.
        config: The whole config as nested plain values, for the keys that there are.
        variants: Name -> key -> value, of settings that go together.

    Returns:
        The full key of each value -> what is drawn.

    Raises:
        InputError: If there is no such key, it can't be varied, or its values are no list and no range.
    """
    known = _known_keys(config)
    read: DrawnSpace = {}
    if variants is not None:
        groups = {name: with_full_keys(group, config, "sweep.variants") for name, group in variants.items()}
        read[VARIANT] = Variants(tuple(groups), groups)
    for key, values in space.items():
        full = _known(key, known, "sweep.space")
        if full in keys_of(read):
            raise InputError(f"Expected every key of sweep.space once, but {full!r} occurs twice.")
        read[full] = _values(key, values)
    return read


def with_full_keys(settings: Mapping[str, Any], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Write out the keys of settings that replace others in a config.

    Args:
        settings: Key -> value; a key may leave out `init_args`.
        config: The whole config as nested plain values.
        where: Which setting they come from, for the error.

    Raises:
        InputError: If there is no such key, or it may not differ between searches.

    >>> with_full_keys({"model.n": 3}, {"model": {"init_args": {"n": 2}}}, "sweep.variants")
    {'model.init_args.n': 3}
    """
    known = _known_keys(config)
    return {_known(key, known, where): value for key, value in settings.items()}


def keys_of(space: DrawnSpace) -> set[str]:
    """Return the keys of the config that a space varies."""
    keys = set(space) - {VARIANT}
    variants = space.get(VARIANT)
    return keys.union(*variants.settings.values()) if isinstance(variants, Variants) else keys


def with_variant(space: DrawnSpace, drawn: dict[str, Any]) -> dict[str, Any]:
    """Return what was drawn with the settings that the name of a variant stands for."""
    variants = space.get(VARIANT)
    if not isinstance(variants, Variants):
        return drawn
    return {**drawn, **copy.deepcopy(dict(variants.settings[drawn[VARIANT]]))}


def draw_settings(space: DrawnSpace, draws: Suggests) -> dict[str, Any]:
    """Draw one value for every key, in the order of the space."""
    return with_variant(space, {key: values.draw(key, draws) for key, values in space.items()})


def put(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with other values at some of its keys.

    >>> put({"model": {"lr": 1, "n": 2}}, {"model.lr": 3})
    {'model': {'lr': 3, 'n': 2}}
    """
    changed = copy.deepcopy(dict(config))
    for key, value in settings.items():
        if key == VARIANT:  # it stands for the others
            continue
        *path, last = key.split(".")
        place = changed
        for part in path:
            place = place[part]
        place[last] = value
    return changed


def check_grid(space: DrawnSpace) -> None:
    """Refuse a space that has no grid.

    Raises:
        InputError: If a range has no step to go by.
    """
    for key, values in space.items():
        if not values.grid:
            raise InputError(
                f"Expected a list or a range with a step for {key!r} with sampler: grid, but got {values}."
            )


def size(space: DrawnSpace) -> int | None:
    """Return how many different settings can be drawn; None where there is no limit.

    >>> size({"a": Choice((1, 2)), "b": Range(1, 3)}), size({"a": Range(0.5, 1.0)})
    (6, None)
    """
    counts = [values.count for values in space.values()]
    return None if None in counts else math.prod(count for count in counts if count is not None)


def names(space: DrawnSpace) -> dict[str, str]:
    """Return by key the shortest end of it that no other key has.

    >>> names(dict.fromkeys(["model.optimizer.init_args.lr", "stop.patience", "restart.patience"], Choice((1, 2))))
    {'model.optimizer.init_args.lr': 'lr', 'stop.patience': 'stop.patience', 'restart.patience': 'restart.patience'}
    """
    parts = {key: _short(key).split(".") for key in space}
    named = {}
    for key, own in parts.items():
        others = [other for name, other in parts.items() if name != key]
        length = next((n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others)), len(own))
        named[key] = ".".join(own[-length:])
    return named


def samples(space: DrawnSpace) -> list[dict[str, Any]]:
    """Return settings in which every value of every list, and both ends of every range, stand at least once.

    >>> samples({"a": Choice((1, 2, 3)), "b": Range(4, 9)})
    [{'a': 1, 'b': 4}, {'a': 2, 'b': 9}, {'a': 3, 'b': 4}]
    """
    longest = max(len(values.samples) for values in space.values())
    return [
        with_variant(space, {key: values.samples[place % len(values.samples)] for key, values in space.items()})
        for place in range(longest)
    ]


def _values(key: str, values: Any) -> Choice | Range:
    if isinstance(values, list):
        if not values:
            raise InputError(f"Expected values for {key!r} in sweep.space, but the list is empty.")
        if any(value == other for place, value in enumerate(values) for other in values[:place]):  # 1, 1.0 and true too
            raise InputError(f"Expected different values for {key!r} in sweep.space, but got {values}.")
        return Choice(tuple(values))
    if not isinstance(values, Mapping) or not {"low", "high"} <= set(values) <= {"low", "high", "step", "log"}:
        raise InputError(
            f"Expected a list of values, or low and high and optionally step or log, for {key!r} in sweep.space, but "
            f"got {values!r}."
        )
    read = Range(values["low"], values["high"], values.get("step"), values.get("log", False))
    numbers = [number for number in (read.low, read.high, read.step) if number is not None]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise InputError(f"Expected numbers as the range of {key!r} in sweep.space, but got {dict(values)}.")
    if not isinstance(read.log, bool):
        raise InputError(f"Expected true or false as log of {key!r} in sweep.space, but got {read.log!r}.")
    if not all(map(math.isfinite, numbers)) or not read.low < read.high:
        raise InputError(
            f"Expected finite numbers, low below high, for {key!r} in sweep.space, but got {dict(values)}."
        )
    if read.step is not None and not 0 < read.step <= read.high - read.low:
        raise InputError(
            f"Expected a step above 0 that leads from low to no more than high for {key!r} in sweep.space, but got "
            f"{dict(values)}."
        )
    if read.log and (read.low <= 0 or read.step is not None):
        raise InputError(f"Expected low above 0 and no step with log for {key!r}, but got {dict(values)}.")
    # Where the steps do not end at high, they end below it.
    return read if read.step is None else replace(read, high=read.grid[-1])


def _known(key: str, known: Mapping[str, str], where: str) -> str:
    """Return the full key that a key stands for.

    Raises:
        InputError: If there is none, or it may not be varied.
    """
    short = _short(key)
    if any(short == fixed or short.startswith(f"{fixed}.") for fixed in FIXED):
        raise InputError(f"Expected keys in {where} that may differ between searches, but got {key!r}.")
    if short not in known:
        close = difflib.get_close_matches(short, known, n=1, cutoff=0.5)
        last = [name for name in known if name.rpartition(".")[2] == short.rpartition(".")[2]]
        hint = f" Did you mean {(last or close)[0]!r}?" if last or close else ""
        raise InputError(f"Expected keys of the config in {where}, but there is no {key!r}.{hint}")
    return known[short]


def _known_keys(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the full key of the config by each short one."""
    known: dict[str, str] = {}
    for key in _keys(config):
        known.setdefault(_short(key), key)  # of a class with settings the class, and not its `init_args`
    return known


def _keys(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for name, value in config.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            keys += _keys(value, f"{prefix}{name}.")
    return keys


def _short(key: str) -> str:
    return ".".join(part for part in key.split(".") if part != INSIDE)
