"""Names in what two sets of settings differ, as every refusal to go on with something else does; and plain values."""

from collections.abc import Mapping
from typing import Any

# What is known by a fingerprint only, which tells a reader nothing.
CONTENT = "content of the "
BY_FINGERPRINT = {
    "base": "the base differs from that",
    "experts": "the experts differ from those",
    "data": "the data differ from those",
}


def is_plain(value: object) -> bool:
    """Tell whether a value is None, a truth value, a number or a text."""
    return value is None or isinstance(value, bool | int | float | str)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level, the names joined by dots.

    >>> flatten({"lr": 1, "prompt": {"chat": False}})
    {'lr': 1, 'prompt.chat': False}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def differences_between(saved: Mapping[str, Any], present: Mapping[str, Any], there: str) -> list[str]:
    """Name every setting in which two sets of them differ.

    Args:
        saved: Nested mapping of plain values; keys that only one of the two has are compared as None. Top-level `base`,
            `experts` and `data`, alone or behind `CONTENT`, are fingerprints.
        present: The same of what wants to go on.
        there: Where the saved ones are: "in the checkpoint".

    >>> differences_between({"optimizer": {"inertia": 0.2}}, {"optimizer": {"inertia": 0.1}}, "in the checkpoint")
    ['optimizer.inertia is 0.1, in the checkpoint 0.2']
    >>> differences_between({"data": "a5f0"}, {"data": "38c1"}, "in the checkpoint")
    ['the data differ from those in the checkpoint']
    """
    then, now = flatten(saved), flatten(present)
    differences = []
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            known = BY_FINGERPRINT.get(name.removeprefix(CONTENT))
            values = f"{name} is {_short(now.get(name))}, {there} {_short(then.get(name))}"
            differences.append(values if known is None else f"{known} {there}")
    return differences


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
