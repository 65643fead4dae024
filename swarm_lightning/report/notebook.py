"""A run in a notebook: a sentence, the state and the climb."""

from swarm_lightning.report.figures import climb
from swarm_lightning.report.run import Run
from swarm_lightning.report.sections import lead
from swarm_lightning.report.vega import HINT, installed, svg


def shown(run: Run) -> str:
    """Return a run as HTML.

    Args:
        run: Any run.
    """
    figure = climb(run)
    if figure is None:
        return lead(run)
    return f"{lead(run)}\n{svg(figure.spec) if installed() else f'<p>{HINT} to see the climb.</p>'}"
