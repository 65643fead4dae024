"""The figures of a sweep: the best so far, settings beside their scores, what each setting matters, seeds together."""

import math
import re
from typing import TYPE_CHECKING, Any

from swarm_lightning.report.figure import AMBER, BLUE, GREEN, Figure, records, spec_of
from swarm_lightning.report.run import Run

if TYPE_CHECKING:
    import pandas

VALIDATION, TEST, SEED = "validation_utility", "test_utility", "seed_everything"
SECONDS = "seconds"
INITIAL_TEST = "initial_test_utility"  # of the best expert of a search's pool
BINS = 4  # of a setting that takes many values, for its importance


def settings_in(table: "pandas.DataFrame") -> list[str]:
    """Return the columns that say what was drawn: those between the costs and the reasons."""
    columns = [str(name) for name in table.columns]
    if "seconds" not in columns or "why" not in columns:
        return []
    return columns[columns.index("seconds") + 1 : columns.index("why")]


def trials(run: Run) -> Figure | None:
    """Draw the searches of a sweep in their order, and the best so far."""
    data = _scored(run)
    if data.empty:
        return None
    keys = settings_in(run.sweep)
    data = data.sort_values("trial").assign(best=data.sort_values("trial")[VALIDATION].cummax())
    shown = data.rename(columns=_plain_names(keys))
    tip = [{"field": name} for name in ("trial", VALIDATION, TEST, *_plain_names(keys).values())]
    x = {"field": "trial", "type": "quantitative", "title": "trial", "axis": {"tickMinStep": 1}}
    y = {"type": "quantitative", "title": "validation utility", "scale": {"zero": False}}
    layers = [
        {
            "mark": {"type": "point", "filled": True, "size": 60, "color": BLUE},
            "encoding": {"x": x, "y": {"field": VALIDATION, **y}, "tooltip": tip},
        },
        {
            "mark": {"type": "line", "interpolate": "step-after", "color": GREEN, "strokeWidth": 2},
            "encoding": {"x": x, "y": {"field": "best", **y}},
        },
    ]
    columns = ["trial", VALIDATION, TEST, "best", *_plain_names(keys).values()]
    spec = spec_of(data={"values": records(shown[columns])}, layer=layers, height=260)
    return Figure("trials", "The searches", "Every dot is a search, the green line the best so far.", data, spec)


def parallel(run: Run) -> Figure | None:
    """Draw a line for every search through all of its settings to its score."""
    data, keys = _scored(run), settings_in(run.sweep)
    if len(data) < 2 or len(keys) < 2:
        return None
    names = _plain_names(keys)
    rows: list[dict[str, Any]] = []
    for name, column in [*((names[key], data[key]) for key in keys), ("validation", data[VALIDATION])]:
        places, texts = _places(column)
        for trial, score, place, text in zip(data.trial, data[VALIDATION], places, texts, strict=True):
            rows.append({"trial": int(trial), "setting": name, "place": place, "value": text, "validation": score})
    order = [*names.values(), "validation"]
    spec = spec_of(
        data={"values": rows},
        mark={"type": "line", "opacity": 0.7, "strokeWidth": 2, "point": True},
        height=300,
        params=[{"name": "shown", "select": {"type": "point", "fields": ["trial"], "on": "pointerover"}}],
        encoding={
            "x": {"field": "setting", "type": "nominal", "sort": order, "title": None, "axis": {"labelAngle": -20}},
            "y": {
                "field": "place",
                "type": "quantitative",
                "title": "lowest to highest value",
                "axis": {"labels": False},
            },
            "detail": {"field": "trial"},
            "color": {"field": "validation", "type": "quantitative", "scale": {"scheme": "viridis"}},
            "opacity": {"condition": {"param": "shown", "value": 0.9}, "value": 0.15},
            "tooltip": [{"field": field} for field in ("trial", "setting", "value", "validation")],
        },
    )
    note = "A line is a search, from setting to setting, each from its lowest value to its highest. Point at one."
    return Figure("settings", "Settings and scores", note, data[["trial", *keys, VALIDATION]], spec)


def importance(run: Run) -> Figure | None:
    """Draw which share of the scores' variance each setting accounts for by itself."""
    import pandas

    data, keys = _scored(run), settings_in(run.sweep)
    if len(data) < 4 or not keys or not data[VALIDATION].var() > 0:
        return None
    names = _plain_names(keys)
    shares = {names[key]: explained(data[key], data[VALIDATION]) for key in keys}
    found = pandas.DataFrame({"setting": list(shares), "share": list(shares.values())})
    found = found.sort_values("share", ascending=False)
    spec = spec_of(
        data={"values": records(found)},
        mark={"type": "bar", "color": BLUE},
        height=26 * len(found),
        encoding={
            "y": {"field": "setting", "type": "nominal", "sort": None, "title": None},
            "x": {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1]}, "title": "share of variance"},
            "tooltip": [{"field": "setting"}, {"field": "share", "format": ".2f"}],
        },
    )
    note = (
        "Between the values of a setting, as a share of the variance of validation utilities (eta squared, one setting "
        f"at a time; of more than {BINS} values, quarters of the searches). With few searches chance alone gives some."
    )
    return Figure("importance", "What each setting matters", note, found, spec)


def by_setting(run: Run) -> Figure | None:
    """Draw the score of every search by its setting, seeds on one line, and their mean."""
    table = _scored(run)
    score = TEST if TEST in table and table[TEST].notna().sum() > 1 else VALIDATION
    note = "A dot is a search with one seed, the green line the mean of a setting over its seeds."
    if score == TEST and INITIAL_TEST in table:
        note += " The amber line is the mean of what the best expert of its pool scores on test."
    return _seeds_together(run, score, "by_setting", "By setting", note)


def times(run: Run) -> Figure | None:
    """Draw how long every search took by its setting, seeds on one line, and their mean."""
    note = "Seconds of a search, without loading and the test split; the green line is the mean over the seeds."
    return _seeds_together(run, SECONDS, "times", "Time by setting", note)


OF_SWEEP = (by_setting, times, trials, importance, parallel)


def explained(values: "pandas.Series", scores: "pandas.Series") -> float:
    """Return the share of the scores' variance that lies between the values of a setting.

    >>> import pandas
    >>> explained(pandas.Series([1, 1, 2, 2]), pandas.Series([0.0, 0.0, 1.0, 1.0]))
    1.0
    """
    import pandas

    groups = values.astype(str)
    if values.nunique() > BINS and pandas.api.types.is_numeric_dtype(values):
        groups = pandas.qcut(values, BINS, duplicates="drop").astype(str)
    means = scores.groupby(groups).transform("mean")
    return float(((means - scores.mean()) ** 2).sum() / ((scores - scores.mean()) ** 2).sum())


def _by_numbers(label: str) -> tuple[tuple[float, str], ...]:
    """Return what a label is sorted by: the numbers in it as numbers.

    >>> sorted(["10 experts", "2 experts", "all"], key=_by_numbers)
    ['2 experts', '10 experts', 'all']
    """
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return tuple((math.inf, part) if place % 2 == 0 else (float(part), "") for place, part in enumerate(parts) if part)


def _seeds_together(run: Run, score: str, called: str, title: str, note: str) -> Figure | None:
    table, keys = _scored(run), [key for key in settings_in(run.sweep) if key != SEED]
    if SEED not in settings_in(run.sweep) or not keys or not table.duplicated(keys).any():
        return None
    names = _plain_names(keys)
    several = [str(names[key]) for key in keys if len(keys) > 1]
    labels = [
        ", ".join(f"{name} {value}" if several else str(value) for name, value in zip(names.values(), row, strict=True))
        for row in table[keys].astype(str).to_numpy().tolist()
    ]
    data = table.assign(setting=labels)
    also = [name for name in (INITIAL_TEST, "evaluations", SECONDS) if name in data and name != score]
    shown = data[["trial", "setting", score, SEED, *also]]
    mean = shown.groupby("setting", sort=False)[score].mean().reset_index()
    y = {
        "field": "setting",
        "type": "nominal",
        "sort": sorted(mean.setting.tolist(), key=_by_numbers),
        "title": None if several else names[keys[0]],
        "axis": {"labelLimit": 260},
    }
    x = {"field": score, "type": "quantitative", "scale": {"zero": False}, "title": score.replace("_", " ")}
    tip = [{"field": str(name)} for name in shown.columns]
    layers = [
        {
            "data": {"values": records(shown)},
            "mark": {"type": "point", "filled": True, "size": 50, "color": BLUE, "opacity": 0.7},
            "encoding": {"x": x, "y": y, "tooltip": tip},
        },
        {
            "data": {"values": records(mean)},
            "mark": {"type": "tick", "thickness": 3, "size": 18, "color": GREEN},
            "encoding": {"x": x, "y": y, "tooltip": [{"field": "setting"}, {"field": score, "format": ".4f"}]},
        },
    ]
    if score == TEST and INITIAL_TEST in shown:
        before = shown.groupby("setting", sort=False)[INITIAL_TEST].mean().reset_index()
        experts = {
            "data": {"values": records(before.rename(columns={INITIAL_TEST: score}))},
            "mark": {"type": "tick", "thickness": 2, "size": 18, "color": AMBER},
        }
        layers.append({**layers[1], **experts})
    return Figure(called, title, note, shown, spec_of(layer=layers, height=26 * len(mean) + 20))


def _scored(run: Run) -> "pandas.DataFrame":
    table = run.sweep
    if table.empty or VALIDATION not in table:
        return table.iloc[:0]
    return table[table[VALIDATION].notna()].reset_index(drop=True)


def _plain_names(keys: list[str]) -> dict[str, str]:
    """Return a name without dots for each key, which Vega would take for a path; the shortest end that is unique."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: end if last.count(end) == 1 else key.replace(".", " ") for key, end in zip(keys, last, strict=True)}


def _places(column: "pandas.Series") -> tuple[list[float | None], list[str]]:
    """Return where the values of a column lie between its lowest and its highest, and how they are written.

    A value that is not there lies nowhere.
    """
    import pandas

    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in column]
    if pandas.api.types.is_numeric_dtype(column) and not pandas.api.types.is_bool_dtype(column):
        low, span = float(column.min()), float(column.max() - column.min()) or 1.0
        return [None if pandas.isna(value) else round((float(value) - low) / span, 4) for value in column], texts
    different = sorted(set(texts))
    return [different.index(text) / max(1, len(different) - 1) for text in texts], texts
