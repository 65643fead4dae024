"""What a way to compose experts is, and what comes out of it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from swarm_lightning.baselines.bench import Bench
from swarm_lightning.data.examples import Example
from swarm_lightning.experts.products.adapter import ProductAdapter

# fixed: the same whatever the seed, so it runs once. drawn: has random numbers in it, and asks a fixed number of
# questions. search: has random numbers in it, and spends the budget that all searches get.
Kind = Literal["fixed", "drawn", "search"]


@dataclass(frozen=True)
class Composition:
    """What a method has made of the experts.

    Attributes:
        utility: Its utility on the validation split.
        detail: What was chosen or found, in a few words for the table.
        vector: Its weights [D], where it is one adapter or one full checkpoint.
        scores: Scores given examples [M], float64, where it is not.
        adapter: The adapter that it is, where that has another form than the experts', beside `scores`.
        evaluations: (particle, example) pairs that it was asked, where others than those of the bench count.
        forward_passes: Forward passes that these took; None where nobody can count them.
        seconds: Time that it took, where another than that of the call counts.
    """

    utility: float
    detail: str = ""
    vector: Tensor | None = None
    scores: Callable[[Sequence[Example]], Tensor] | None = None
    adapter: ProductAdapter | None = None
    evaluations: int | None = None
    forward_passes: int | None = None
    seconds: float | None = None

    @property
    def weights(self) -> Collection[Tensor]:
        """The tensors that it is made of, as one model; none where it is several."""
        if self.adapter is not None:
            return self.adapter.tensors.values()
        return [] if self.vector is None else [self.vector]


class Method(Protocol):
    """A way to compose experts.

    Attributes:
        title: What it is called in the table.
        kind: Whether it has random numbers in it, and whether it searches.
        least: Experts that it needs at least.
    """

    title: str
    kind: Kind
    least: int

    def compose(self, bench: Bench) -> Composition:
        """Make a composition of the experts, with nothing else than the bench.

        Raises:
            Absent: If the method has no place in this comparison.
        """
        ...
