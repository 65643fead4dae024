"""What a checkpoint says about the search it belongs to, and whether another search may go on from it.

Lightning stores the positions and the optimizer state. This part adds which experts, data and settings they belong
to, as plain values, so that a checkpoint is never continued by a search that would silently be another one.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from swarm_lightning.differences import differences_between
from swarm_lightning.errors import InputError
from swarm_lightning.search.population import differences_from

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm

KEY = "swarm_lightning"
FORMAT = 2
LIBRARIES = frozenset({"torch", "transformers", "peft", "lightning"})


def identity_of(module: "ModelSwarm") -> dict[str, Any]:
    """Return what makes a search this search and no other: base, experts, data and settings, as plain values.

    Args:
        module: The search, attached to a trainer.
    """
    optimizer = module.optimizer_factory([torch.zeros(module.particles, 1)])
    scheduler = module.scheduler_factory(optimizer)
    schedule = {name: value for name, value in scheduler.state_dict().items() if is_plain(value)}
    return {
        "base": module.base_fingerprint,
        "experts": module.pool.fingerprint,
        "data": getattr(getattr(module.trainer, "datamodule", None), "fingerprint", None),
        "particles": module.particles,
        "child_span": module.child_span,
        "start": asdict(module.start),
        "draws": module.draws,
        "differences_from": differences_from(module),
        "optimizer": {"class": type(optimizer).__qualname__, **optimizer.defaults},
        "scheduler": {
            "class": type(scheduler).__qualname__,
            **{name: value for name, value in schedule.items() if not name.startswith("_") and name != "last_epoch"},
        },
        "objective": settings_of(module.objective),
    }


def settings_of(instance: object, depth: int = 5) -> dict[str, Any]:
    """Return the class of an object and its public attributes, as far down as they are settings.

    Settings are plain values, patterns, and collections and objects that hold settings of their own.

    Args:
        instance: Any object; models and other objects of the large libraries below count as no settings.
        depth: Levels of objects to look into.

    >>> class Rule:
    ...     def __init__(self):
    ...         self.limits, self._cache, self.words = (3, 4), {}, frozenset("ab")
    >>> settings_of(Rule())
    {'class': 'Rule', 'limits': [3, 4], 'words': ['a', 'b']}
    >>> class Rules:
    ...     def __init__(self):
    ...         self.rules = {"first": Rule()}
    >>> settings_of(Rules())["rules"]["first"]["limits"]
    [3, 4]
    """
    settings: dict[str, Any] = {"class": type(instance).__qualname__}
    for name, value in vars(instance).items():
        if not name.startswith("_") and _is_setting(value, depth):
            settings[name] = _setting(value, depth)
    return settings


def _is_setting(value: object, depth: int) -> bool:
    if is_plain(value) or isinstance(value, re.Pattern):
        return True
    if type(value).__module__.split(".")[0] in LIBRARIES:
        return False
    if isinstance(value, Mapping | set | frozenset | list | tuple):
        return True
    return hasattr(value, "__dict__") and not callable(value) and depth > 0


def _setting(value: object, depth: int) -> Any:
    if is_plain(value):
        return value
    if isinstance(value, re.Pattern):
        return value.pattern
    if isinstance(value, Mapping):
        return {str(key): _setting(entry, depth) for key, entry in value.items() if _is_setting(entry, depth)}
    if isinstance(value, set | frozenset):
        return sorted(str(entry) for entry in value)
    if isinstance(value, list | tuple):
        return [_setting(entry, depth) for entry in value if _is_setting(entry, depth)]
    return settings_of(value, depth - 1)


def is_plain(value: object) -> bool:
    """Tell whether a value is None, a truth value, a number or a text."""
    return value is None or isinstance(value, bool | int | float | str)


def check_same_search(saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Refuse to go on from the checkpoint of another search.

    Args:
        saved: What the checkpoint says, a nested mapping of plain values.
        present: The same of the search that wants to go on; keys that only one of the two has are compared as None.

    Raises:
        InputError: If anything differs; it names every difference.

    >>> check_same_search({"optimizer": {"inertia": 0.2}}, {"optimizer": {"inertia": 0.2}})
    """
    differences = differences_between(saved, present, "in the checkpoint")
    if differences:
        raise InputError(
            "Expected to resume with the experts, data and settings of the checkpoint, but "
            + "; ".join(differences)
            + ". Resume with the config.yaml of the checkpoint's run folder, or start a new search without --ckpt_path."
        )
