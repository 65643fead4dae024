"""Choices among the experts of a config, as variants of a sweep."""

import random
from collections.abc import Sequence
from typing import Any, Literal

from swarm_lightning.errors import InputError

EXPERTS = "model.experts"


def variants_of(
    experts: Sequence[tuple[str, str]], subsets: Sequence[int] | Literal["each"], seed: int
) -> dict[str, dict[str, Any]]:
    """Return the searches that a sweep compares, by what their experts are called.

    Args:
        experts: Name and source of each of n experts.
        subsets: Numbers of experts, or `each` for all of them and all but one.
        seed: Of the choice.

    Raises:
        InputError: If there are not so many experts, or a search would have fewer than two.

    >>> pool = [("one", "a/one"), ("two", "a/two"), ("three", "a/three")]
    >>> list(variants_of(pool, "each", 0))
    ['all 3', 'without one', 'without two', 'without three']
    >>> variants_of(pool, [3, 2], 0)["2 experts"]["model.experts"]
    ['a/one', 'a/three']
    """
    sources = [source for _, source in experts]
    if subsets == "each":
        if len(sources) < 3:
            raise InputError(f"Expected 3 experts or more with sweep.subsets: each, but there are {len(sources)}.")
        left_out = {f"without {name}": {EXPERTS: [one for one in sources if one != own]} for name, own in experts}
        return {f"all {len(sources)}": {EXPERTS: sources}, **left_out}
    numbers = list(dict.fromkeys(subsets))
    if len(numbers) < 2 or not all(2 <= number <= len(sources) for number in numbers):
        raise InputError(
            f"Expected sweep.subsets to be two numbers or more from 2 to {len(sources)}, as many as there are experts, "
            f"but got {list(subsets)}."
        )
    order = list(range(len(sources)))
    random.Random(seed).shuffle(order)
    return {f"{number} experts": {EXPERTS: [sources[place] for place in sorted(order[:number])]} for number in numbers}
