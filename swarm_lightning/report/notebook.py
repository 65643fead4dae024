"""A run in Python and in notebooks: its data frames, and its state and progress at a glance."""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from swarm_lightning.report.climb import climb
from swarm_lightning.report.lacking import all_drawn, note
from swarm_lightning.report.page import render
from swarm_lightning.report.run import Run, open_run
from swarm_lightning.report.sections import lead
from swarm_lightning.report.vega import HINT, installed, svg


@dataclass(frozen=True)
class ShownPage:
    """A page that notebooks display in a frame.

    Attributes:
        text: The page as HTML.
        height: Height of the frame in pixels.
    """

    text: str = field(repr=False)
    height: int

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {self.height}px; border: 1px solid #8888"
        return f'<iframe srcdoc="{escape(self.text)}" style="{style}"></iframe>'


class ShownRun(Run):
    """A run that notebooks display."""

    def page(self, height: int = 600) -> ShownPage:
        """Return the page of the run, which notebooks display.

        Args:
            height: Height of its frame in pixels.

        Raises:
            InputError: If the plotting library is not installed, or a file of the run is damaged.
        """
        return ShownPage(render([self], self.folder), height)

    def _repr_html_(self) -> str:
        """Return the outcome and the climb as HTML."""
        figures, left_out = all_drawn([climb], self)
        shown = [svg(figure.spec) if installed() else f"<p>{HINT} to see the climb.</p>" for figure in figures]
        return "\n".join([lead(self), *(note(text) for text in left_out), *shown])


def read_run(folder: str | Path) -> ShownRun:
    """Read a run folder; each file is read when it is first used.

    Args:
        folder: Folder of a `swarm fit`, `swarm compare` or `swarm sweep`, which may still be running.

    Returns:
        Its content: `history`, `swarm`, `scores`, `replies`, `test`, `comparison` and `sweep` as data frames, `record`,
        `summary`, `files` and `best`.

    Raises:
        InputError: If it is not such a folder.
    """
    run = open_run(folder)
    return ShownRun(run.folder, run.kind)
