"""The best so far over the evaluations that it took: of a comparison's methods that search, and of several runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swarm_lightning.names import SWARM
from swarm_lightning.report.climb import shown_column
from swarm_lightning.report.figure import Figure, records, spec_of
from swarm_lightning.report.lacking import drawn
from swarm_lightning.report.run import Run
from swarm_lightning.runs.run_folder import SEARCHES

if TYPE_CHECKING:
    import pandas


def methods_so_far(run: Run) -> Figure | None:
    """Draw how the best validation utility of every search of a comparison has risen, and its test score in the end."""
    import pandas

    if not run.results:
        return None
    titles = dict(zip(run.comparison.method, run.comparison.title, strict=True))
    found = []
    for result in run.results:
        title, seed = titles.get(result["method"]), result["seed"]
        if title is None:
            continue
        if result["method"] == SWARM:
            risen = rise_of(Run(run.folder / SEARCHES / f"seed_{seed}", "search"))
        else:
            rises = result["climb"]
            ended = [(result["evaluations"], rises[-1][1])] if rises else []
            risen = pandas.DataFrame([*rises, *ended], columns=["evaluations", "utility"])
        if not risen.empty:
            found.append(risen.assign(what=title, seed=seed).astype({"utility": float}))
    if not found:
        return None
    data = pandas.concat(found, ignore_index=True)
    ends = run.comparison[run.comparison.title.isin(data.what) & run.comparison.test.notna()]
    ends = ends[["title", "evaluations", "test"]].rename(columns={"title": "what"})
    note = (
        "The best validation utility so far of every method that searches by the objective, a line for each seed. "
        "Diamonds are test scores (the mean over the seeds): the test split is asked once, in the end. Click the "
        "legend to choose."
    )
    tested = ends.rename(columns={"test": "utility"}).assign(split="test")
    both = pandas.concat([data.assign(split="validation"), tested])
    return Figure("so_far", "The best so far", note, both, _spec(data, "seed", ends))


def runs_so_far(runs: Sequence[Run]) -> Figure | None:
    """Draw the best so far of several searches in one figure; None where fewer than two have any."""
    import pandas

    found = []
    for run in runs:
        risen = drawn(rise_of, run) if run.kind == "search" else None
        if risen is not None and not risen.empty:
            tests = run.summary.get("test", [])
            found.append(risen.assign(what=run.name, test=tests[1]["utility"] if len(tests) > 1 else None))
    if len(found) < 2:
        return None
    data = pandas.concat(found, ignore_index=True)
    ends = data.groupby("what", sort=False)[["evaluations", "test"]].last().reset_index()
    note = (
        "The best validation utility so far of every search, by the objective; diamonds are the test scores of what "
        "was found. Click the legend to choose."
    )
    return Figure("together", "The runs together", note, data, _spec(data, "what", ends[ends.test.notna()]))


def rise_of(run: Run) -> "pandas.DataFrame":
    """Return by `evaluations` what the objective has said of the best so far, `utility`; empty where it was not asked.

    Args:
        run: A search.
    """
    import pandas

    swarm = run.swarm
    guided = shown_column(swarm)
    if swarm.empty or (guided is None and ("global_best" not in swarm or run.summary.get("guide", {}).get("followed"))):
        return pandas.DataFrame(columns=["evaluations", "utility"])
    utilities = swarm[guided or "global_best"].rename("utility")
    return pandas.concat([swarm["evaluations"].cumsum().astype(int), utilities], axis=1).dropna()


def _spec(data: "pandas.DataFrame", each: str, ends: "pandas.DataFrame") -> dict[str, Any]:
    x = {"field": "evaluations", "type": "quantitative", "title": "evaluations", "scale": {"nice": False}}
    y = {"type": "quantitative", "title": "utility", "scale": {"zero": False}}
    order = list(dict.fromkeys(data.what))
    legend = {"orient": "top", "columns": 3, "labelLimit": 180}
    colour = {"field": "what", "type": "nominal", "title": None, "sort": order, "legend": legend}
    faint = {"condition": {"param": "shown", "value": 1}, "value": 0.08}
    layers = [
        {
            "data": {"values": records(data)},
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "point": {"size": 16}},
            "params": [{"name": "shown", "select": {"type": "point", "fields": ["what"]}, "bind": "legend"}],
            "encoding": {
                "x": x,
                "y": {"field": "utility", **y},
                "color": colour,
                "detail": {"field": each},
                "opacity": faint,
                "tooltip": [{"field": name} for name in dict.fromkeys(("what", each, "evaluations", "utility"))],
            },
        },
        {
            "data": {"values": records(ends)},
            "mark": {"type": "point", "shape": "diamond", "size": 90, "filled": True},
            "encoding": {
                "x": x,
                "y": {"field": "test", **y},
                "color": colour,
                "opacity": faint,
                "tooltip": [{"field": name} for name in ("what", "evaluations", "test")],
            },
        },
    ]
    return spec_of(layer=layers, height=300)
