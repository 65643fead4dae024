"""Callbacks that watch a number of the search, such as early stopping: is there a number of that name?

Where only callbacks of this package and of Lightning log, the names are known before the search starts. What else logs
may have further names: then they are looked for after the first iteration.
"""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

import lightning as L

from swarm_lightning.errors import InputError
from swarm_lightning.search.results import GROUPS, logged_name

OURS = ("lightning.", "swarm_lightning.")


class CheckMonitors(L.Callback):
    """Refuses a `monitor` that the search does not measure."""

    def __init__(self, names: Sequence[str], has_scored: Callable[[], bool]) -> None:
        """Say what there is to monitor.

        Args:
            names: Of all numbers that the search can measure; those that loggers give them can be monitored too.
            has_scored: Tells whether it has scored anything since it was made or resumed.
        """
        self._names = [*names, *(logged_name(name) for name in names if name != "step")]
        self._has_scored = has_scored

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compare with what a search measures, before anything is loaded.

        Raises:
            InputError: If nothing of that name can be measured.
        """
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if stage == "fit" and all(type(callback).__module__.startswith(OURS) for callback in callbacks):
            _check(callbacks, self._names, "measured")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare with what this iteration has measured, before anybody reads it.

        Raises:
            InputError: If it is not there.
        """
        measured = trainer.callback_metrics
        # Lightning ends the epoch of the checkpoint once more when it resumes; nothing has been measured yet.
        if self._has_scored():
            where = f"known of iteration {trainer.current_epoch + 1}"
            _check(trainer.callbacks, list(measured), where)  # type: ignore[attr-defined]


def _check(callbacks: Iterable[L.Callback], names: list[str], how: str) -> None:
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        strict = getattr(callback, "strict", True)
        learning_rate = isinstance(monitor, str) and monitor.startswith("lr-")
        if not isinstance(monitor, str) or monitor in names or not strict or (how == "measured" and learning_rate):
            continue
        close = get_close_matches(monitor, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        own = [name for name in names if name.partition("/")[0] not in GROUPS]  # each has one of a logger beside it
        shown = [name for name in own if "/particle_" not in name]
        more = ", and utility, at_least and at_most of every particle" if len(shown) < len(own) else ""
        raise InputError(
            f"Expected {type(callback).__name__} to monitor a number that is {how}, but got {monitor!r}.{hint} There "
            f"are {', '.join(shown)}{more}."
        )
