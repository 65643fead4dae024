"""The result of a search or an adaptation in Python: one object to inspect, plot, export and upload."""

import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.hub import push_folder
from swarm_lightning.files import write_whole
from swarm_lightning.report.climb import climb
from swarm_lightning.report.notebook import ShownRun, read_run
from swarm_lightning.report.vega import png, require, svg
from swarm_lightning.runs.run_folder import BEST_EXPERT, SUMMARY
from swarm_lightning.search.model_swarm import ModelSwarm

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Picture:
    """A figure that notebooks display.

    Attributes:
        svg: The figure as SVG text.
    """

    svg: str = field(repr=False)

    def _repr_svg_(self) -> str:
        return self.svg


class Found:
    """The result of a search.

    Attributes:
        folder: The run folder; the guide to the commands lists its files.
        module: The search itself, for further use of its parts.
        verdict: What an adaptation gained, in sentences; empty after a search.
    """

    def __init__(self, folder: Path, module: ModelSwarm, verdict: tuple[str, ...] = ()) -> None:
        """Take a search that has ended.

        Args:
            folder: Its run folder.
            module: The search.
            verdict: Of an adaptation.
        """
        self.folder = folder
        self.module = module
        self.verdict = verdict

    @property
    def summary(self) -> dict[str, Any]:
        """The scores before and after, the gain with its 95% interval, iterations and time, as in `summary.json`."""
        return dict(json.loads((self.folder / SUMMARY).read_text(encoding="utf-8")))

    @property
    def run(self) -> ShownRun:
        """All files of the run as data frames; see `read_run`."""
        return read_run(self.folder)

    @property
    def history(self) -> "pandas.DataFrame":
        """One row per iteration and particle; after an adaptation, whose particles do not move, one per step."""
        run = self.run
        return run.swarm if run.history.empty else run.history

    @property
    def best(self) -> Path:
        """The folder of the best found expert, which `PeftModel.from_pretrained(base, best)` loads."""
        return self.folder / BEST_EXPERT

    def plot(self, path: str | Path | None = None) -> Picture:
        """Draw the climb: the utility of every particle, and the best so far, over the iterations.

        Args:
            path: File to write the figure to as well, .svg or .png; None: none.

        Returns:
            The figure, which notebooks display.

        Raises:
            InputError: If the file has another suffix, or the plotting library is not installed.
        """
        require()
        figure = climb(self.run)
        assert figure is not None  # a search that has ended has scored something
        picture = Picture(svg(figure.spec))
        if path is not None:
            suffix = Path(path).suffix.lower()
            if suffix not in (".svg", ".png"):
                raise InputError(f"Expected a file that ends in .svg or .png for the plot, but got {str(path)!r}.")
            write_whole(Path(path), picture.svg if suffix == ".svg" else png(figure.spec))
        return picture

    def export(self, folder: str | Path, particle: int | None = None) -> Path:
        """Write the best found expert, or the personal best of a particle, with a model card.

        Args:
            folder: The new folder.
            particle: Index of the particle whose personal best is written, counted from 0; None: the best found expert.

        Raises:
            InputError: If the folder exists, or there is no such particle.
        """
        if Path(folder).exists():
            raise InputError(f"Expected a new folder, but {str(folder)!r} exists. Choose another one.")
        return self.module.export(Path(folder), particle, test=self.module.result(self.module.held_back).test)

    def push_to_hub(self, name: str, public: bool = False) -> str:
        """Upload the best found expert with its card to the Hugging Face hub.

        Args:
            name: Repository: `owner/name`, or `name` for one of the user's own.
            public: Whether a new repository is public.

        Returns:
            The address of the repository.

        Raises:
            InputError: If the hub refuses it or can't be reached.
        """
        return push_folder(self.best, name, public)

    def _repr_html_(self) -> str:
        """Return the table of scores, and the words of an adaptation, for a notebook."""
        summary = self.summary
        splits = {name: summary[name] for name in ("validation", "test") if summary[name]}
        head = "".join(f"<th>{name} ({rows[0]['examples']})</th>" for name, rows in splits.items())
        body = ""
        for rows in zip(*splits.values(), strict=True):
            scores = "".join(f"<td>{row['utility']:.4f}</td>" for row in rows)
            body += f"<tr><td>{escape(rows[0]['name'])}</td><td>{escape(rows[0]['detail'])}</td>{scores}</tr>"
        said = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdict)
        place = escape(str(self.folder))
        return (
            f"<table><tr><th></th><th>which</th>{head}</tr>{body}</table>{said}<p>Run folder: <code>{place}</code></p>"
        )
