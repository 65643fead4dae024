"""A run in Python and in notebooks: its data frames, and a sentence, the state and the climb to look at."""

from pathlib import Path

from swarm_lightning.report.figures import climb
from swarm_lightning.report.run import Run, open_run
from swarm_lightning.report.sections import lead
from swarm_lightning.report.vega import HINT, installed, svg


class ShownRun(Run):
    """A run that shows itself in a notebook."""

    def _repr_html_(self) -> str:
        """Return the outcome and the climb as HTML."""
        figure = climb(self)
        if figure is None:
            return lead(self)
        return f"{lead(self)}\n{svg(figure.spec) if installed() else f'<p>{HINT} to see the climb.</p>'}"


def read_run(folder: str | Path) -> ShownRun:
    """Read a run folder; everything in it is read when it is first asked for.

    Args:
        folder: Of `swarm fit`, `swarm compare` or `swarm sweep`; the run may still go on.

    Returns:
        Its content: `history`, `swarm`, `scores`, `replies`, `test`, `comparison` and `sweep` as data frames, `record`,
        `summary`, `files` and `best`.

    Raises:
        InputError: If it is no such folder.
    """
    run = open_run(folder)
    return ShownRun(run.folder, run.kind)
