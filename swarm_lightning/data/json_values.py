"""Turns JSON text into values that the rest of the package can write down again: numbers, texts and nesting in bounds.

JSON allows more than that: whole numbers of any length, halves of surrogate pairs, a key twice in one object.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from swarm_lightning.data.notices import Notice, name_some
from swarm_lightning.errors import InputError

DEEPEST = 100


def parse_json(text: str, where: str) -> Any:
    """Parse JSON. Numbers that are too large for a float, and Infinity, stay the text that they are written as.

    Args:
        text: The JSON text.
        where: Where it stands in words, for messages.

    Raises:
        json.JSONDecodeError: If it is no JSON.
        InputError: If it is nested too deeply, or an object has a key twice.

    >>> parse_json('[12, 0.5, 1e999]', "here")
    [12, 0.5, '1e999']
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InputError(
                f"Expected each key of an object once in {where}, but {twice!r} comes {keys.count(twice)} times in one "
                f"with the keys {', '.join(map(repr, found))}. Remove or rename the others."
            )
        return found

    try:
        value = json.loads(
            text, parse_int=_whole, parse_float=_fraction, parse_constant=_constant, object_pairs_hook=once
        )
    except RecursionError as error:
        raise InputError(_too_deep(where)) from error
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return value
    raise InputError(_too_deep(where))


def is_broken(value: Any) -> bool:
    """Tell whether a value as `parse_json` returns it holds half of a surrogate pair, which no model can be asked."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def mend_text(value: Any) -> Any:
    r"""Put U+FFFD in the place of every half surrogate pair in a value, at any depth; all else stays as it is.

    >>> mend_text(["cut \ud83d off"])
    ['cut � off']
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {mend_text(key): mend_text(entry) for key, entry in value.items()}
    return [mend_text(entry) for entry in value] if isinstance(value, list) else value


def mend_records(records: Sequence[Any], where: str) -> tuple[Sequence[Any], tuple[Notice, ...]]:
    """Mend the text of all records.

    Args:
        records: Values as `parse_json` returns them.
        where: File and split in words, for the message.

    Returns:
        The records, and a notice that names those with broken text, if there are any.
    """
    broken = [index for index, record in enumerate(records) if is_broken(record)]
    if not broken:
        return records, ()
    mended = list(records)
    for index in broken:
        mended[index] = mend_text(records[index])
    named = tuple(map(str, broken))
    message = (
        f"{len(broken)} of {len(records)} records of {where} hold text that is not valid Unicode, halves of surrogate "
        f"pairs (counted from 0: {name_some(named)}). U+FFFD was put in their place."
    )
    return mended, (Notice("broken text", "warning", message, len(broken), named),)


def _whole(digits: str) -> int | str:
    # Far below Python's limit on digits; int() of 308 digits can still be too large for a float.
    if len(digits) > 310:
        return digits
    number = int(digits)
    try:
        float(number)
    except OverflowError:
        return digits
    return number


def _constant(name: str) -> float | str:
    return math.nan if name == "NaN" else name


def _fraction(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _too_deep(where: str) -> str:
    return f"Expected records in {where}, but its lists and objects are nested too deeply (more than {DEEPEST} levels)."
