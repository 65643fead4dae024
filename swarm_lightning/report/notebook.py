"""A run in Python and in notebooks: its data frames, and a sentence, the state and the climb to look at."""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from swarm_lightning.report.figures import climb
from swarm_lightning.report.lacking import drawn
from swarm_lightning.report.page import render
from swarm_lightning.report.run import Run, open_run
from swarm_lightning.report.sections import lead
from swarm_lightning.report.vega import HINT, installed, svg


@dataclass(frozen=True)
class ShownPage:
    """A page that shows itself in a notebook, in a frame of its own.

    Attributes:
        text: The page.
        height: Of the frame, in pixels.
    """

    text: str = field(repr=False)
    height: int

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {self.height}px; border: 1px solid #8888"
        return f'<iframe srcdoc="{escape(self.text)}" style="{style}"></iframe>'


class ShownRun(Run):
    """A run that shows itself in a notebook."""

    def page(self, height: int = 600) -> ShownPage:
        """Return the page of the run, which a notebook shows.

        Args:
            height: Of its frame, in pixels.

        Raises:
            InputError: If the library that draws is not installed, or a file of the run is damaged.
        """
        return ShownPage(render([self], self.folder), height)

    def _repr_html_(self) -> str:
        """Return the outcome and the climb as HTML."""
        figure = drawn(climb, self)
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
