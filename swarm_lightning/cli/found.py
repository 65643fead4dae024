"""What comes out of a search or an adaptation in Python: one object to look at, to plot, to export and to upload."""

import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.hub import push_folder
from swarm_lightning.files import write_whole
from swarm_lightning.report.figures import climb
from swarm_lightning.report.notebook import ShownRun, read_run
from swarm_lightning.report.vega import png, require, svg
from swarm_lightning.runs.run_folder import BEST_EXPERT, SUMMARY
from swarm_lightning.search.model_swarm import ModelSwarm

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Picture:
    """A figure that shows itself in a notebook.

    Attributes:
        svg: Its text.
    """

    svg: str = field(repr=False)

    def _repr_svg_(self) -> str:
        return self.svg


class Found:
    """What came out of a search.

    Attributes:
        folder: The run folder; see the guide to the commands for what is in it.
        module: The search, whose parts can be used further.
        verdict: What an adaptation has brought, in words; empty after a search.
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
        """One row per iteration and particle; of an adaptation, whose particles stay, one per step."""
        run = self.run
        return run.swarm if run.history.empty else run.history

    @property
    def best(self) -> Path:
        """The folder of the best found expert, which `PeftModel.from_pretrained(base, best)` loads."""
        return self.folder / BEST_EXPERT

    def plot(self, path: str | Path | None = None) -> Picture:
        """Draw the climb: the utility of every particle, and the best so far, over the iterations.

        Args:
            path: A file that it is written to as well, .svg or .png.

        Returns:
            The figure, which a notebook shows.

        Raises:
            InputError: If the file is of another kind, or the library that draws is not installed.
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
            folder: A new folder.
            particle: Whose personal best, counted from 0; None for the best found expert.

        Raises:
            InputError: If the folder exists, or there is no such particle.
        """
        if Path(folder).exists():
            raise InputError(f"Expected a new folder, but {str(folder)!r} exists. Choose another one.")
        return self.module.export(Path(folder), particle, test=self.module.result(self.module.held_back).test)

    def push_to_hub(self, name: str, public: bool = False) -> str:
        """Upload the best found expert with its card to the Hugging Face hub.

        Args:
            name: Repository, `owner/name`, or `name` for the user's own.
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
