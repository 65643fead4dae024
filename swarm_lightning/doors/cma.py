"""CMA-ES by the library `cma`: one distribution, which draws from a source of its own and touches no files.

Tested with cma 4.0 to 4.5. Relied on, besides what is documented: the option `randn` is where all random numbers come
from, so that with a seeded source the same answers make the same candidates, bit for bit.
"""

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from swarm_lightning.errors import InputError

# It never ends by itself: the budget ends a search.
OPTIONS = {"seed": math.nan, "verbose": -9, "signals_filename": "", "tolfun": 0, "tolfunhist": 0}
LOST = 1e300  # the loss of a candidate without a utility


class Distribution:
    """A normal distribution that moves towards what did well.

    >>> made = Distribution([0.0, 0.0], 0.5, population=8, separable=False, seed=1)
    >>> for _ in range(40):
    ...     made.tell([-((x - 1) ** 2) - (y + 1) ** 2 for x, y in made.ask()])
    >>> [round(number, 2) for number in made.mean]
    [1.0, -1.0]
    """

    def __init__(self, mean: Sequence[float], deviation: float, population: int, separable: bool, seed: int) -> None:
        """Put it somewhere.

        Args:
            mean: Its mean, D numbers, 2 or more.
            deviation: Its standard deviation in every direction, > 0.
            population: Candidates of a generation, 2 or more.
            separable: Whether it learns a variance of every number, and none between them.
            seed: Of what it draws.

        Raises:
            InputError: If cma is not installed.
        """
        from numpy.random import RandomState

        cma = installed()
        options = {**OPTIONS, "randn": RandomState(seed).randn, "popsize": population, "CMA_diagonal": separable}
        self._strategy = cma.CMAEvolutionStrategy(list(mean), deviation, options)
        self._asked: list[Any] = []

    @property
    def mean(self) -> list[float]:
        """Its mean [D]."""
        return [float(number) for number in self._strategy.mean]

    @property
    def deviation(self) -> float:
        """Its step size: the standard deviation, before what it has learnt of single directions."""
        return float(self._strategy.sigma)

    def ask(self) -> list[list[float]]:
        """Draw the candidates of a generation [P][D]."""
        self._asked = self._strategy.ask()
        return [[float(number) for number in candidate] for candidate in self._asked]

    def tell(self, utilities: Sequence[float]) -> None:
        """Move towards those of the candidates last asked that did well.

        Args:
            utilities: Of every candidate [P]; one that is not finite counts as the worst.
        """
        losses = [-utility if math.isfinite(utility) else LOST for utility in utilities]
        self._strategy.tell(self._asked, losses)


def installed() -> Any:
    """Return the library.

    Raises:
        InputError: If it is not there.
    """
    try:
        return import_module("cma")
    except ImportError as error:
        raise InputError(
            "Expected the library cma for CmaEs, but it is not installed. Install it with the extra, `pip install "
            f"'swarm-lightning[compare]'`, or choose EvolutionStrategy, which needs none. ({error})"
        ) from error
