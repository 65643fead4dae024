"""Optuna's trials, where its documented parts do not suffice.

Tested with optuna 5.0.0. Relied on, besides what is documented:

- `FrozenTrial._trial_id`, and `Trial(study, id)`, whose direct use Optuna does not recommend: the way in which `Study`
  itself takes up a trial of its storage.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial


def taken_up(study: "Study", trial: "FrozenTrial") -> "Trial":
    """Return a trial that is running, so that it can be gone on with.

    Args:
        study: It belongs to.
        trial: As the study lists it.
    """
    from optuna.trial import Trial

    return Trial(study, trial._trial_id)
