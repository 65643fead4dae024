"""The figures of the climb: every particle's utility, the best so far, and what the objective says beside a guide."""

import math
from typing import TYPE_CHECKING, Any

from swarm_lightning.names import OF_BEST, OF_CENTRE
from swarm_lightning.report.figure import AMBER, BLUE, GREEN, POINTS, RED, VIOLET, Figure, records, spec_of
from swarm_lightning.report.run import Run

if TYPE_CHECKING:
    import pandas

LINES = "Amber lines: the best initial (dotted) and the best found expert (dashed) on the test split. "


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
        axes = best.rename(columns={"utility": "best_so_far"})
        data = history.merge(axes, on="iteration")
        risen = _rises(data)
        step = -(-len(data) // POINTS)
        drawn = data[(data.iteration % step == 0) & data.utility.map(math.isfinite)]
        tip = [{"field": name} for name in ("particle", "iteration", "utility", "personal_best", "restarted")]
        columns = [*(name["field"] for name in tip), "evaluations", "seconds"]
        datasets["particles"] = records(drawn[columns])
        base: dict[str, Any] = {"data": {"name": "particles"}, "transform": choose}
        kinds = {"moved on": BLUE, "restarted": RED, "personal bests": VIOLET, "best so far": GREEN}
        what = {
            "field": "what",
            "title": None,
            "scale": {"domain": list(kinds), "range": list(kinds.values())},
            "legend": {"orient": "top"},
        }
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
                    "color": what,
                    "opacity": {"condition": {"param": "shown", "value": 0.75}, "value": 0.05},
                    "tooltip": tip,
                },
            }
        )
        layers.append(
            {
                "data": {"values": records(risen)},
                "transform": [*choose, {"calculate": "'personal bests'", "as": "what"}],
                "mark": {"type": "line", "strokeWidth": 1, "interpolate": "step-after"},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "personal_best"},
                    "detail": {"field": "particle"},
                    "color": what,
                    "opacity": {"condition": {"param": "shown", "value": 0.4}, "value": 0.03},
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
    bests = "" if history.empty else "violet lines their personal bests, "
    note = (
        f"Every dot is a particle in an iteration, {bests}the green line the best so far. {by}Utilities that the "
        "exact stop left open are not drawn. Scroll to zoom, drag to move, click the legend to choose."
    )
    if column == "candidate_mean":
        note = f"The mean of the candidates that a step asks, on the examples that it asks them. {by}Scroll to zoom."
    tests = run.summary.get("test", [])[:2]
    data = data.assign(**{f"{row['name'].replace(' ', '_')}_on_test": row["utility"] for row in tests})
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


def _rises(history: "pandas.DataFrame") -> "pandas.DataFrame":
    """Return the rows in which a particle's personal best has risen, and the last of each."""
    own = history[history.personal_best.map(math.isfinite)].sort_values(["particle", "iteration"])
    before = own.groupby("particle").personal_best.shift()
    kept = own[before.isna() | (own.personal_best > before) | ~own.duplicated("particle", keep="last")]
    return kept[["particle", "iteration", "personal_best", "evaluations", "seconds"]]


def _test_lines(run: Run, y: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "data": {"values": [{"utility": row["utility"], "what": f"{row['name']} on test"}]},
            "mark": {"type": "rule", "strokeDash": dash, "color": AMBER, "strokeWidth": 2},
            "encoding": {"y": y, "tooltip": [{"field": "what"}, {"field": "utility", "format": ".4f"}]},
        }
        for row, dash in zip(run.summary.get("test", [])[:2], ([2, 3], [6, 3]), strict=False)
    ]
