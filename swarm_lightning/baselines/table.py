"""The table of a comparison: results to rows, rows to Markdown and CSV. Losses stand in it as plainly as gains."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from swarm_lightning.baselines.method import Method
from swarm_lightning.baselines.registry import LEGEND, SIGNS
from swarm_lightning.baselines.results import Result
from swarm_lightning.evaluation.bootstrap import Resampling, interval
from swarm_lightning.evaluation.counts import plus
from swarm_lightning.files import write_whole
from swarm_lightning.shown import in_markdown, with_interval


@dataclass(frozen=True)
class TableRow:
    """One method, over its seeds.

    Attributes:
        method: Name of the method.
        title: What it is called.
        runs: Number of seeds; 0 where it is absent.
        validation: Mean utility on the validation split.
        test: Mean score on the test split.
        test_low: Lower end of the 95% interval of the mean test score.
        test_high: Upper end.
        spread: Standard deviation of the test score over the seeds; None for one run.
        difference: Test score less that of the reference; None for the reference itself.
        difference_low: Lower end of the 95% interval of the difference, by the same examples.
        difference_high: Upper end.
        within_noise: Whether that interval holds 0.
        evaluations: (particle, example) pairs asked of the validation split, mean over the seeds.
        forward_passes: Calls of a model that they took, mean over the seeds; None where one run does not know.
        seconds: Time, mean over the seeds.
        detail: What was chosen or found; of several runs, in the best on validation.
        adapters: Folders of the adapters or full checkpoints, from that of the comparison.
        absent: Why there is no such row.
        sign: `†` where it is trained with gradients, `‡` where it is no single model; empty for all others.
        sign_means: The same in words.
    """

    method: str
    title: str
    runs: int = 0
    validation: float | None = None
    test: float | None = None
    test_low: float | None = None
    test_high: float | None = None
    spread: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    within_noise: bool | None = None
    evaluations: int | None = None
    forward_passes: int | None = None
    seconds: float | None = None
    detail: str = ""
    adapters: str = ""
    absent: str = ""
    sign: str = ""
    sign_means: str = ""

    @property
    def signed(self) -> str:
        """The title with its sign."""
        return f"{self.title} {self.sign}".rstrip()


def make_rows(
    methods: Mapping[str, Method],
    results: Mapping[str, Sequence[Result]],
    absent: Mapping[str, str],
    sampling: Resampling,
    reference: str | None,
) -> list[TableRow]:
    """Sum the results up.

    Args:
        methods: By name, in the order of the table.
        results: The runs of every method that has any.
        absent: For every other method, why.
        sampling: How test examples are drawn again, and what scores are worth.
        reference: Method that the others are compared with; None: the best on validation.

    Returns:
        One row per method that has results or a reason to have none.
    """
    present = [name for name in methods if results.get(name)]
    if reference not in present:
        reference = max(present, key=lambda name: _mean(results[name], "validation"), default=None)
    runs_of = [torch.tensor([run.test for run in results[name]], dtype=torch.float64) for name in present]
    tested = bool(runs_of) and runs_of[0].numel() > 0
    # Of every run, averaged over the runs of a method.
    found = [statistics.fmean(map(sampling.utility, runs)) for runs in runs_of] if tested else []
    drawn = sampling.utilities(torch.cat(runs_of)).split([len(runs) for runs in runs_of]) if tested else ()
    means = [runs.mean(dim=0) for runs in drawn]
    rows = []
    for name, method in methods.items():
        sign = SIGNS.get(name, "")
        if name not in present:
            if name in absent:
                rows.append(
                    TableRow(name, method.title, absent=absent[name], sign=sign, sign_means=LEGEND.get(sign, ""))
                )
            continue
        runs, place = results[name], present.index(name)
        numbers: dict[str, float | bool | None] = {}
        if tested and reference is not None:
            numbers["test"] = found[place]
            numbers["test_low"], numbers["test_high"] = interval(means[place])
            if len(runs) > 1:
                numbers["spread"] = statistics.stdev(map(sampling.utility, runs_of[place]))
            if name != reference:
                other = present.index(reference)
                numbers["difference"] = found[place] - found[other]
                low, high = interval(means[place] - means[other])
                numbers |= {"difference_low": low, "difference_high": high, "within_noise": low <= 0 <= high}
        rows.append(
            TableRow(
                name,
                method.title,
                len(runs),
                _mean(runs, "validation"),
                evaluations=round(_mean(runs, "evaluations")),
                forward_passes=_passes(runs),
                seconds=_mean(runs, "seconds"),
                detail=_detail(runs),
                adapters=" ".join(run.adapter for run in runs if run.adapter is not None),
                sign=sign,
                sign_means=LEGEND.get(sign, ""),
                **numbers,  # type: ignore[arg-type]
            )
        )
    return rows


def reference_of(rows: Sequence[TableRow]) -> TableRow | None:
    """Return the row that the others are compared with."""
    return next((row for row in rows if row.runs and row.difference is None), None)


def markdown(rows: Sequence[TableRow], examples: tuple[int, int]) -> str:
    """Return the table as Markdown, with what it takes to read it.

    Args:
        rows: Of the table.
        examples: Number of validation and of test examples.
    """
    reference = reference_of(rows)
    name = "the reference" if reference is None else reference.title
    splits = f"validation ({examples[0]}) | test ({examples[1]})"
    lines = [
        f"| method | {splits} | less {name} | evaluations | forward passes | seconds | runs | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        if row.absent:
            lines.append(f"| {row.signed} | | | | | | | | absent: {_cell(row.absent)} |")
            continue
        spread = "" if row.spread is None else f", ± {row.spread:.4f} over the seeds"
        test = "" if row.test is None else f"{with_interval(row.test, row.test_low, row.test_high)}{spread}"
        cells = [row.signed, f"{row.validation:.4f}", test, difference_of(row)]
        cells += [str(row.evaluations), passes_of(row), f"{row.seconds:.1f}", str(row.runs), _cell(row.detail)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "In brackets: 95% intervals by the bootstrap over test examples, of differences with the same examples for "
        "both. A difference whose interval holds 0 is within noise; what other seeds would find is in none of them. "
        "Evaluations are (particle, example) pairs asked of the validation split; forward passes are the calls of a "
        "model that they took, whatever the batch, and blank where they are not known. Numbers of several runs are "
        "means.",
        *(f"\n{line}" for line in legend_of(rows)),
    ]
    return "\n".join(lines)


def legend_of(rows: Sequence[TableRow]) -> list[str]:
    """Return what the signs of the rows mean, a sentence each."""
    signs = {row.sign for row in rows}
    return [f"{sign} {meaning}." for sign, meaning in LEGEND.items() if sign in signs]


def difference_of(row: TableRow) -> str:
    """Say how a row differs from the reference, and whether that is within noise."""
    if row.difference is None:
        return ""
    noise = " within noise" if row.within_noise else ""
    return f"{with_interval(row.difference, row.difference_low, row.difference_high, '+')}{noise}"


def passes_of(row: TableRow) -> str:
    """Say how many forward passes a row took; nothing where they are not known."""
    return "" if row.forward_passes is None else str(row.forward_passes)


def write_csv(rows: Sequence[TableRow], path: Path) -> None:
    """Write the table with a column for every attribute of a row; what is unknown is empty.

    Args:
        rows: Of the table.
        path: Where it goes.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(TableRow)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_whole(path, text.getvalue())


def _detail(runs: Sequence[Result]) -> str:
    """Return what the best run on validation chose or found, and which run that is."""
    best = max(runs, key=lambda run: run.validation)
    return best.detail if len(runs) == 1 else f"seed {best.seed}: {best.detail}"


def _passes(runs: Sequence[Result]) -> int | None:
    total = plus(*(run.forward_passes for run in runs))
    return None if total is None else round(total / len(runs))


def _cell(text: str) -> str:
    return in_markdown(" ".join(text.split()))


def _mean(runs: Sequence[Result], name: str) -> float:
    return statistics.fmean(getattr(run, name) for run in runs)
