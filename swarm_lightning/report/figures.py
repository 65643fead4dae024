"""The figures of a page, as Vega-Lite, each with the data frame that it is drawn from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swarm_lightning.names import OF_BEST, OF_CENTRE
from swarm_lightning.report.analyses import composition, heat, mixture_of, places, winner_of
from swarm_lightning.report.lacking import drawn
from swarm_lightning.report.run import Run
from swarm_lightning.report.vega import CONFIG

if TYPE_CHECKING:
    import pandas

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
POINTS = 3000  # of one figure; of more iterations, every k-th is drawn
BLUE, RED, GREEN, AMBER = "#3b82f6", "#ef4444", "#10b981", "#f59e0b"
LINES = "Amber lines: the best initial (dotted) and the best found expert (dashed) on the test split. "


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: For its files.
        title: What it shows.
        note: How to read it.
        data: What it is drawn from, all of it.
        spec: Vega-Lite.
    """

    name: str
    title: str
    note: str
    data: "pandas.DataFrame"
    spec: dict[str, Any]


def climb(run: Run) -> Figure | None:
    """Draw the utility of every particle over the iterations, and the best so far."""
    swarm, history = run.swarm, run.history
    column = "global_best" if "global_best" in swarm else "candidate_mean"
    if column not in swarm or swarm.empty:
        return None
    best = swarm[["iteration", column]].rename(columns={column: "utility"})
    best = best.assign(evaluations=swarm["evaluations"].cumsum(), seconds=swarm["evaluation_seconds"].cumsum().round(2))
    x: dict[str, Any] = {
        "field": "x",
        "type": "quantitative",
        "title": "iteration, evaluations or seconds: choose below",
    }
    x |= {"axis": {"tickMinStep": 1}, "scale": {"nice": False}}
    choose = [{"calculate": "datum[by]", "as": "x"}]
    guided = shown_column(swarm) is not None or run.summary.get("guide", {}).get("followed", False)
    title = "validation utility by the guide" if guided else "validation utility"
    y = {"field": "utility", "type": "quantitative", "title": title, "scale": {"zero": False}}
    layers: list[dict[str, Any]] = []
    datasets: dict[str, Any] = {}
    data = best
    if not history.empty:
        axes = best.drop(columns="utility")
        data = history.merge(axes, on="iteration")
        step = -(-len(data) // POINTS)
        drawn = data[(data.iteration % step == 0) & data.utility.map(math.isfinite)]
        tip = [{"field": name} for name in ("particle", "iteration", "utility", "personal_best", "restarted")]
        columns = [*(name["field"] for name in tip), "evaluations", "seconds"]
        datasets["particles"] = records(drawn[columns])
        base: dict[str, Any] = {"data": {"name": "particles"}, "transform": choose}
        layers.append(
            {
                **base,
                "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.35, "point": False},
                "encoding": {"x": x, "y": y, "detail": {"field": "particle"}, "color": {"value": "#888888"}},
            }
        )
        layers.append(
            {
                **base,
                "mark": {"type": "point", "filled": True, "size": 22},
                "params": [{"name": "shown", "select": {"type": "point", "fields": ["what"]}, "bind": "legend"}],
                "transform": [*choose, {"calculate": "datum.restarted ? 'restarted' : 'moved on'", "as": "what"}],
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": {
                        "field": "what",
                        "title": None,
                        "scale": {"domain": ["moved on", "restarted", "best so far"], "range": [BLUE, RED, GREEN]},
                        "legend": {"orient": "top"},
                    },
                    "opacity": {"condition": {"param": "shown", "value": 0.75}, "value": 0.05},
                    "tooltip": tip,
                },
            }
        )
    layers.append(
        {
            "data": {"values": records(best)},
            "transform": choose,
            "mark": {"type": "line", "strokeWidth": 3, "color": GREEN, "interpolate": "step-after"},
            "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
            "encoding": {"x": x, "y": y, "tooltip": [{"field": "iteration"}, {"field": "utility", "format": ".4f"}]},
        }
    )
    layers += [] if guided else _test_lines(run, y)
    options = ["iteration", "evaluations", "seconds"]
    params = [{"name": "by", "value": "iteration", "bind": {"input": "select", "options": options, "name": "x: "}}]
    shown = "All are by the guide that was followed; what the objective says is drawn below. " if guided else ""
    by = LINES if not guided and run.summary.get("test") else shown
    note = (
        f"Every dot is a particle in an iteration, the green line the best so far. {by}Utilities that the exact stop "
        "left open are not drawn. Scroll to zoom, drag to move, click the legend to choose."
    )
    spec = spec_of(datasets=datasets, layer=layers, params=params, height=320)
    return Figure("climb", "The climb", note, data, spec)


def by_objective(run: Run) -> Figure | None:
    """Draw what the objective said of the best so far in a search that followed a guide."""
    swarm = run.swarm
    column = shown_column(swarm)
    if column is None:
        return None
    data = swarm[["iteration", column]].dropna().rename(columns={column: "utility"})
    if data.empty:
        return None
    what = "best so far" if column == OF_BEST else "centre"
    title = f"validation utility of the {what}, by the objective"
    y = {"field": "utility", "type": "quantitative", "title": title, "scale": {"zero": False}}
    line = {
        "data": {"values": records(data)},
        "mark": {"type": "line", "point": True, "color": GREEN, "interpolate": "step-after"},
        "encoding": {
            "x": {"field": "iteration", "type": "quantitative"},
            "y": y,
            "tooltip": [{"field": "iteration"}, {"field": "utility", "format": ".4f"}],
        },
    }
    note = (
        f"What the search followed is a guide; the objective was asked about the {what} now and then, on the whole "
        f"validation split. {LINES}"
    )
    spec = spec_of(layer=[line, *_test_lines(run, y)], height=200)
    return Figure("by_objective", "The climb by the objective", note, data, spec)


def shown_column(swarm: "pandas.DataFrame") -> str | None:
    """Return which column of a wide history is by the objective, where the others are by a guide; None elsewhere."""
    return next((name for name in (OF_BEST, OF_CENTRE) if name in swarm), None)


def _test_lines(run: Run, y: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "data": {"values": [{"utility": row["utility"], "what": f"{row['name']} on test"}]},
            "mark": {"type": "rule", "strokeDash": dash, "color": AMBER, "strokeWidth": 2},
            "encoding": {"y": y, "tooltip": [{"field": "what"}, {"field": "utility", "format": ".4f"}]},
        }
        for row, dash in zip(run.summary.get("test", [])[:2], ([2, 3], [6, 3]), strict=False)
    ]


def lines_of(
    data: "pandas.DataFrame",
    by: str,
    title: str,
    mark: Mapping[str, Any] | None = None,
    legend: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the specification of utilities over iterations, a line each, which the legend chooses among.

    Args:
        data: With the columns `iteration`, `utility` and `by`.
        by: What each line is of.
        title: Of the vertical axis.
        mark: How lines are drawn beside what all have in common.
        legend: The same of the legend.
    """
    return spec_of(
        data={"values": records(data)},
        mark={"type": "line", "strokeWidth": 2, "point": True, **(mark or {})},
        height=260,
        params=[{"name": "shown", "select": {"type": "point", "fields": [by]}, "bind": "legend"}],
        encoding={
            "x": {"field": "iteration", "type": "quantitative", "axis": {"tickMinStep": 1}},
            "y": {"field": "utility", "type": "quantitative", "title": title, "scale": {"zero": False}},
            "color": {"field": by, "type": "nominal", "title": None, "legend": {"orient": "top", **(legend or {})}},
            "opacity": {"condition": {"param": "shown", "value": 1}, "value": 0.1},
            "tooltip": [{"field": by}, {"field": "iteration"}, {"field": "utility", "format": ".4f"}],
        },
    )


def heat_map(run: Run) -> Figure | None:
    """Draw which particle's personal best answers which example."""
    data = heat(run)
    if data.empty:
        return None
    particles = int(data.particle.nunique())
    spec = spec_of(
        data={"values": records(data.round({"score": 4}))},
        mark={"type": "rect"},
        height=min(480, max(120, 14 * particles)),
        transform=[{"calculate": "datum.from - 0.5", "as": "left"}, {"calculate": "datum.to + 0.5", "as": "right"}],
        encoding={
            "x": {
                "field": "left",
                "type": "quantitative",
                "title": "validation examples, from easy to hard",
                "scale": {"domain": [0.5, int(data["to"].max()) + 0.5], "nice": False},
                "axis": {"grid": False},
            },
            "x2": {"field": "right"},
            "y": {"field": "particle", "type": "ordinal", "axis": {"labelOverlap": True}},
            "color": {"field": "score", "type": "quantitative", "scale": {"scheme": "viridis"}},
            "tooltip": [{"field": name} for name in ("particle", "from", "to", "score")],
        },
    )
    note = "The score of every particle's personal best on every validation example; one cell may be several examples."
    return Figure("scores", "Who answers what", note, data, spec)


def map_of(run: Run) -> Figure | None:
    """Draw where the particles are, and the way of the winner."""
    data = places(run)
    if data.empty:
        return None
    names = run.starts
    step = -(-len(data) // POINTS)
    drawn = data[(data.iteration % step == 0)]
    first = data[(data.iteration == data.iteration.min()) & (data.particle < len(names))]
    starts = [{**row, "name": names[int(row["particle"])]} for row in records(first)]
    way = data[data.particle == winner_of(run)].sort_values("iteration")
    wide = {"axis": {"grid": False}, "scale": {"zero": False, "padding": 24}}  # room for names at the edge
    x = {"field": "x", "type": "quantitative", "title": "first main axis", **wide}
    y = {"field": "y", "type": "quantitative", "title": "second main axis", **wide}
    tip = [{"field": name} for name in ("particle", "iteration", "utility")]
    colour = {"field": "iteration", "type": "quantitative", "scale": {"scheme": "viridis"}}
    layers = [
        {
            "data": {"values": records(drawn[["particle", "iteration", "utility", "x", "y"]].round({"x": 4, "y": 4}))},
            "mark": {"type": "point", "filled": True, "size": 26, "opacity": 0.6},
            "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
            "encoding": {"x": x, "y": y, "color": colour, "tooltip": tip},
        },
        {
            "data": {"values": records(way)},
            "mark": {"type": "line", "color": RED, "strokeWidth": 2},
            "encoding": {"x": x, "y": y, "order": {"field": "iteration"}},
        },
    ]
    if starts:
        layers += [
            {
                "data": {"values": starts},
                "mark": {"type": "point", "shape": "diamond", "size": 90, "color": AMBER, "filled": True},
                "encoding": {"x": x, "y": y, "tooltip": [{"field": "name"}, {"field": "utility"}]},
            },
            {
                "data": {"values": starts},
                "mark": {"type": "text", "dy": -10, "color": "#888888", "fontSize": 11},
                "encoding": {"x": x, "y": y, "text": {"field": "name"}},
            },
        ]
    note = (
        f"The two main axes of all positions; they show {float(data.share.iloc[0]):.0%} of how far positions are "
        f"spread. {'Diamonds are the experts, the' if names else 'The'} red line is the way of the particle that found "
        "the best."
    )
    return Figure("map", "The map", note, data, spec_of(layer=layers, height=380))


def made_of(run: Run) -> Figure | None:
    """Draw how much of each expert stands in the best found one, or in the mixture of a token swarm."""
    data, outside = composition(run)
    if data.empty or outside is None:
        return None
    how = "read from the sketches by least squares" if run.coefficients is None else "as the search holds them"
    title, field = "What the winner is made of", "coefficient"
    note = f"Coefficients of the experts in the best found one, {how}; {outside:.2%} of it lies outside of their span."
    mixes = mixture_of(run)
    if mixes is not None:
        title, note = "The mixture", "What the log-probabilities of each expert's next token are multiplied by."
        note += " Below 0, what an expert likes is avoided."
    if mixes == "probabilities":
        positive = data.coefficient.clip(lower=0)
        data, field = data.assign(share=positive / (positive.sum() or 1)), "share"
        note = "The share of each expert in the probabilities of the next token; a coefficient below 0 counts as 0."
    order = data.sort_values(field, ascending=False).expert.tolist()
    y = {"field": "expert", "type": "nominal", "sort": order, "title": None}
    bars = {
        "mark": {"type": "bar", "color": BLUE},
        "encoding": {
            "y": y,
            "x": {"field": field, "type": "quantitative", "title": field},
            "tooltip": [{"field": "expert"}, {"field": field, "format": ".3f"}],
        },
    }
    spread = {
        "mark": {"type": "rule", "color": "#888888"},
        "encoding": {
            "y": y,
            "x": {"field": "lowest", "type": "quantitative", "title": field},
            "x2": {"field": "highest"},
        },
    }
    layers = [bars, spread] if (data.lowest < data.highest).any() else [bars]
    spec = spec_of(data={"values": records(data)}, layer=layers, height=22 * len(data))
    return Figure("made_of", title, note, data, spec)


def forest(run: Run) -> Figure | None:
    """Draw the test scores of a comparison with their intervals."""
    table = run.comparison
    if table.empty or "test" not in table or not table.test.notna().any():
        return None
    data = table[table.test.notna()]
    columns = ["title", "validation", "test", "test_low", "test_high", "evaluations", "seconds"]
    order = data.sort_values("test", ascending=False).title.tolist()
    y = {"field": "title", "type": "nominal", "sort": order, "title": None}
    tip = [{"field": name} for name in columns]
    x = {"type": "quantitative", "title": "test score, with its 95% interval", "scale": {"zero": False}}
    layers = [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "color": BLUE},
            "encoding": {"y": y, "x": {"field": "test_low", **x}, "x2": {"field": "test_high"}, "tooltip": tip},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "color": BLUE},
            "encoding": {"y": y, "x": {"field": "test", **x}, "tooltip": tip},
        },
        {
            "mark": {"type": "tick", "color": AMBER, "thickness": 2},
            "encoding": {"y": y, "x": {"field": "validation", **x}, "tooltip": tip},
        },
    ]
    note = "Dots are test scores, amber lines validation utilities. Intervals are by the bootstrap over test examples."
    spec = spec_of(data={"values": records(data[columns])}, layer=layers, height=22 * len(data))
    return Figure("forest", "The comparison", note, data, spec)


def figures_of(run: Run) -> list[Figure]:
    """Return every figure that can be drawn of a search or a comparison; those of a sweep are in `sweep_figures.py`."""
    found = (drawn(make, run) for make in (climb, by_objective, heat_map, map_of, made_of, forest))
    return [figure for figure in found if figure is not None]


def spec_of(**parts: Any) -> dict[str, Any]:
    """Return a figure of these parts that is as wide as its page."""
    return {"$schema": SCHEMA, "config": CONFIG, "width": "container", **parts}


def records(frame: "pandas.DataFrame") -> Sequence[dict[str, Any]]:
    """Return the rows as plain values; what is unknown or infinite becomes null, as JSON has neither."""
    rows = frame.astype(object).to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return round(value, 6) if isinstance(value, float) else value
