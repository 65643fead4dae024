"""The figures of what scores are made of: every task's climb, and how graded scores are distributed."""

from typing import Any

from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.report.examples import pairs_of
from swarm_lightning.report.figure import AMBER, GREEN, Figure, lines_of, records, spec_of
from swarm_lightning.report.run import Run

TASK = "best/"  # what the columns of the best one's utilities by task begin with
BINS = 20


def tasks(run: Run) -> Figure | None:
    """Draw the utility of the best so far on every task over the iterations."""
    names = [str(name) for name in run.swarm.columns if str(name).startswith(TASK)]
    if not names or run.swarm.empty:
        return None
    columns = {"id_vars": "iteration", "value_vars": names, "var_name": "task", "value_name": "utility"}
    data = run.swarm.melt(**columns)
    data["task"] = data.task.str.removeprefix(TASK)
    spec = lines_of(data, "task", "validation utility on the task", mark={"interpolate": "step-after"})
    note = (
        "The best so far is best in all tasks together, so that its utility on one of them may fall. Click the legend "
        "to choose."
    )
    return Figure("tasks", "Every task", note, data, spec)


def distribution(run: Run) -> Figure | None:
    """Draw how the scores of the best initial and the best found expert are distributed; nothing where right is all."""
    import pandas

    pairs = pairs_of(run)
    if pairs is None or not pairs.graded:
        return None
    scores = {INITIAL: pairs.rows.score_before, FOUND: pairs.rows.score_after}
    together = pandas.concat(scores.values())
    low, high = float(together.min()), float(together.max())
    if not low < high < float("inf"):
        return None
    width = (high - low) / BINS
    rows: list[dict[str, Any]] = []
    for name, values in scores.items():
        places = ((values - low) / width).astype(int).clip(upper=BINS - 1)
        counts = places.value_counts()
        rows += [
            {"expert": name, "from": low + width * place, "to": low + width * (place + 1), "examples": int(count)}
            for place, count in ((place, counts.get(place, 0)) for place in range(BINS))
        ]
    data = pandas.DataFrame(rows)
    scale = {"domain": [INITIAL, FOUND], "range": [AMBER, GREEN]}
    colour = {"field": "expert", "title": None, "scale": scale, "legend": {"orient": "top"}}
    spec = spec_of(
        data={"values": records(data)},
        mark={"type": "bar", "binSpacing": 0, "strokeWidth": 2},
        height=240,
        params=[{"name": "shown", "select": {"type": "point", "fields": ["expert"]}, "bind": "legend"}],
        encoding={
            "x": {"field": "from", "type": "quantitative", "bin": {"binned": True}, "title": "score of a reply"},
            "x2": {"field": "to"},
            "y": {"field": "examples", "type": "quantitative", "stack": None},
            "color": colour,
            "stroke": colour,
            # The one filled, the other an outline: both are seen where they overlap.
            "fillOpacity": {"condition": {"test": f"datum.expert === '{FOUND}'", "value": 0.5}, "value": 0},
            "opacity": {"condition": {"param": "shown", "value": 1}, "value": 0.05},
            "tooltip": [{"field": name} for name in ("expert", "from", "to", "examples")],
        },
    )
    note = f"How many replies to the {pairs.split} split have which score, of the one expert and of the other."
    return Figure("distribution", "How replies are scored", note, data, spec)


OF_SCORES = (tasks, distribution)
