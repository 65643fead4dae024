"""What a figure of a page is: Vega-Lite, with the data frame that it is drawn from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swarm_lightning.report.vega import CONFIG

if TYPE_CHECKING:
    import pandas

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
POINTS = 3000  # of one figure; of more iterations, every k-th is drawn
BLUE, RED, GREEN, AMBER, VIOLET = "#3b82f6", "#ef4444", "#10b981", "#f59e0b", "#8b5cf6"


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


def spec_of(**parts: Any) -> dict[str, Any]:
    """Return a figure of these parts that is as wide as its page."""
    return {"$schema": SCHEMA, "config": CONFIG, "width": "container", **parts}


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
