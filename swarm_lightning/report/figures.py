"""The figures of a search and of a comparison: who answers what, where particles are, what the best is made of."""

from swarm_lightning.report.analyses import composition, heat, mixture_of, places, winner_of
from swarm_lightning.report.climb import by_objective, climb
from swarm_lightning.report.figure import AMBER, BLUE, POINTS, RED, Figure, records, spec_of
from swarm_lightning.report.run import Run


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


def diversity(run: Run) -> Figure | None:
    """Draw how far apart the particles are over the iterations."""
    if "diversity" not in run.swarm or not run.swarm.diversity.notna().any():
        return None
    data = run.swarm[["iteration", "diversity", "step_length"]]
    spec = spec_of(
        data={"values": records(data)},
        mark={"type": "line", "color": BLUE, "point": True},
        height=140,
        encoding={
            "x": {"field": "iteration", "type": "quantitative", "axis": {"tickMinStep": 1}},
            "y": {"field": "diversity", "type": "quantitative"},
            "tooltip": [{"field": name} for name in ("iteration", "diversity", "step_length")],
        },
    )
    note = "How far the particles are from their centre, the root of the mean square. At 0 all are at one place."
    return Figure("diversity", "Diversity", note, data, spec)


def made_of(run: Run) -> Figure | None:
    """Draw how much of each expert stands in the best found one, or in the mixture of a token swarm."""
    data, outside = composition(run)
    if data.empty or outside is None:
        return None
    how = "read from the sketches by least squares" if run.coefficients is None else "as the search holds them"
    title, field = "What the winner is made of", "coefficient"
    note = f"Coefficients of the experts in the best found one, {how}"
    note += "." if run.coefficients is not None else f"; {outside:.2%} of it lies outside of their span."
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


# What makes the figures of a search or a comparison; those of a sweep are in `sweep_figures.py`.
OF_RUN = (climb, by_objective, map_of, diversity, made_of, heat_map, forest)
