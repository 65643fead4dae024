"""Draws the settings of a trial, never twice the same: searches of one seed with equal settings are equal.

Optuna's samplers draw single values; a trial whose values were drawn before is drawn again. Its `GridSampler` is not
used: a trial that was one too many would take its place in the grid with it.
"""

import itertools
import random
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from swarm_lightning.sweep.space import Choice, DrawnSpace, Range

# A TPE that has found its region proposes the same again and again: after so many draws it is left for a random one.
PATIENCE = 30
# Of spaces that are nearly searched through, random draws hit what is left rarely.
MOST_DRAWS = 100_000
SURPLUS = "surplus"


class WithoutRepeats(BaseSampler):
    """Draws all values of a trial at once, others than those of every earlier trial."""

    def __init__(self, kind: Literal["random", "grid", "tpe"], space: DrawnSpace, seed: int, number: int) -> None:
        """Seed the draws.

        Args:
            kind: How values are drawn.
            space: What is drawn.
            seed: Of the sweep.
            number: Of the trial: its draws depend on the seed, this number and the earlier trials, not on who makes it.
        """
        own = random.Random(f"{seed} {number}").getrandbits(32)
        self._random = RandomSampler(seed=own)
        self._tpe = TPESampler(seed=own) if kind == "tpe" else None
        self._grid = space if kind == "grid" else None
        self._order = random.Random(seed)
        self._space = {key: distribution(values) for key, values in space.items()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Say that all values are drawn together."""
        return dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the values of a trial; those it has are left as they are."""
        taken = [params for number, params in drawn(study).items() if number != trial.number]
        if self._grid is not None:
            combinations = list(itertools.product(*(values.grid for values in self._grid.values())))
            self._order.shuffle(combinations)
            all_ = [dict(zip(self._grid, values, strict=True)) for values in combinations]
            return next((params for params in all_ if params not in taken), all_[0])
        params: dict[str, Any] = {}
        for draw in range(MOST_DRAWS):
            sampler = self._random if self._tpe is None or draw >= PATIENCE else self._tpe
            params = {
                key: trial.params.get(key, sampler.sample_independent(study, trial, key, values))
                for key, values in self._space.items()
            }
            if params not in taken:
                break
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a single value: never needed, as all are drawn together."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def distribution(values: Choice | Range) -> BaseDistribution:
    """Return what Optuna knows values by."""
    if isinstance(values, Choice):
        return CategoricalDistribution(values.labels)
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log, step=int(values.step or 1))
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def drawn(study: Study) -> dict[int, dict[str, Any]]:
    """Return by number what every trial has drawn, without those that were one too many."""
    trials = study.get_trials(deepcopy=False)
    return {trial.number: trial.params for trial in trials if SURPLUS not in trial.user_attrs}
