"""How a reply is generated: its length, what ends it, and whether its tokens are the most likely ones or drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.checks import check_at_least_one


@dataclass(frozen=True)
class GenerationSettings:
    """How a reply is generated: greedily, or by sampling at a temperature above 0.

    Filters are applied in the order of transformers: temperature, `top_k`, `top_p`. For the seeds see
    `evaluation/sampling.py`.

    Attributes:
        max_new_tokens: Maximum number of tokens of a reply, >= 1.
        stop: Strings that end a reply, which is cut before the first of them. Stored as a tuple.
        temperature: 0: greedy. Above 0: logits are divided by it and tokens are sampled.
        top_p: Sample from the smallest set of most likely tokens whose probabilities sum to at least this, in (0, 1];
            1: all.
        top_k: Sample from this many of the most likely tokens, >= 1; None: all.
    """

    max_new_tokens: int = 10
    stop: Sequence[str] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that can't be meant."""
        check_at_least_one("max_new_tokens", self.max_new_tokens)
        if isinstance(self.stop, str):
            raise InputError(f"Expected stop to be a list of strings, but got the string {self.stop!r}: put it in [ ].")
        object.__setattr__(self, "stop", tuple(self.stop))
        if not all(isinstance(text, str) and text for text in self.stop):
            raise InputError(f"Expected stop to hold strings of one character or more, but got {list(self.stop)!r}.")
        if not _is_number(self.temperature) or not 0 <= self.temperature < math.inf:
            raise InputError(f"Expected temperature to be 0 (greedy) or a number above, but got {self.temperature!r}.")
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise InputError(f"Expected top_p to be above 0 and 1 at most (1 switches it off), but got {self.top_p!r}.")
        if self.top_k is not None:
            check_at_least_one("top_k", self.top_k)
        if not self.sampled and (self.top_p, self.top_k) != (1, None):
            raise InputError(
                f"Expected top_p and top_k only with a temperature above 0, but got top_p {self.top_p} and top_k "
                f"{self.top_k} with temperature 0, which takes the most likely token each time. Set temperature, 1 for "
                "the model's own distribution, or leave them out."
            )

    @property
    def sampled(self) -> bool:
        """Whether tokens are drawn."""
        return self.temperature > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
