"""What a sweep reports: every search, the whole budget, and the best by validation with its test score.

Made from the study and the summaries in the run folders, so it can be made at any time, by any process.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from swarm_lightning.files import write_whole
from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.runs.run_folder import SUMMARY
from swarm_lightning.shown import in_markdown
from swarm_lightning.sweep.settings import KEPT, PLACE, SETTINGS
from swarm_lightning.sweep.space import Choice, DrawnSpace, Range, keys_of, names
from swarm_lightning.sweep.study import SweepStudy

FACTS = ("iterations", "restarts", "evaluations", "asked_first", "taken", "generated_tokens", "seconds")
STATES = {"COMPLETE": "ended", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
OBJECTIVE = "model.objective"
SEED = "seed_everything"
FILES = (
    "Files in this folder:",
    "",
    "- `sweep.csv`: this table with all costs, unrounded.",
    "- `best_expert/`: the found expert of the best search.",
    "- `trial_<number>/`: the run folder of a search, as of `swarm fit`; `config.yaml` there starts it alone.",
    "- `study.db`: Optuna's study, unless `sweep.storage` names another place.",
    "- `first_scores/`: the scores of first positions (experts, children), and what an objective has measured of the "
    "base: a search takes from here what another has asked. Without it the next search asks again.",
    "- `locks/`: who works at which search. Its files are empty and block nobody once their process has ended; `place` "
    "tells this folder from those of other machines. Leave it while processes run.",
)


@dataclass(frozen=True)
class TrialRow:
    """One search of a sweep.

    Attributes:
        number: Its number.
        state: ended, pruned, failed, running or waiting.
        settings: What it drew, by key.
        validation: Utility of the best found expert on the split that guided the search; None where it failed.
        test: Its utility on the test split; None where it was not scored.
        initial: Name of the best initial expert, and its utility on both splits as far as known; None where it failed.
        facts: Iterations, restarts, evaluations, those of them that the first positions took, those that were taken
            from other searches instead, generated tokens, seconds.
        why: Why it failed.
        folder: Its run folder.
        data: What tells its validation examples from others; empty where it has not begun.
        here: Whether its folder lies here, and not on another machine that shares the study.
        further: Test utilities beside its own, by what they are of; see `tests_of`.
    """

    number: int
    state: str
    settings: Mapping[str, Any]
    validation: float | None
    test: float | None
    initial: tuple[str, float, float | None] | None
    facts: Mapping[str, float]
    why: str
    folder: str
    data: str
    here: bool
    further: Mapping[str, float] = field(default_factory=dict)


def rows_of(study: SweepStudy) -> list[TrialRow]:
    """Return what is known of every trial, in the order of their numbers."""
    rows = []
    for trial in study.trials():
        attributes, facts = trial.user_attrs, trial.user_attrs.get(KEPT, {})
        scored, initial = study.tests_of(trial.number), facts.get(INITIAL)
        folder, (_, machine) = study.folder_of(trial.number), attributes.get(PLACE, ("", "elsewhere"))
        rows.append(
            TrialRow(
                trial.number,
                STATES[trial.state.name],
                attributes.get(SETTINGS, trial.params),
                facts.get("validation"),
                scored[FOUND] if scored else None,
                (*initial, scored[INITIAL] if scored else None) if initial else None,
                {name: facts[name] for name in FACTS if name in facts},
                facts.get("error", ""),
                str(folder) if study.is_here(trial) else f"{machine}/{folder.name}",
                facts.get("data", ""),
                study.is_here(trial),
                {name: value for name, value in (scored or {}).items() if name not in (FOUND, INITIAL)},
            )
        )
    return rows


def tests_of(folder: Path) -> dict[str, float] | None:
    """Return a run's test utilities by name, where they were scored: best initial and best found expert, and further.

    Further are `ensemble`, the vote of its particles, and `on <dataset>` and `initial on <dataset>` for those that the
    sweep names beside its own.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        rows = summary["test"]
    except (OSError, ValueError, KeyError):
        return None
    found = {row["name"]: float(row["utility"]) for row in rows}
    if "ensemble" in summary:
        found["ensemble"] = float(summary["ensemble"]["utility"])
    for dataset, utilities in summary.get("also_test", {}).items():
        found[f"on {dataset}"] = float(utilities[FOUND])
        found[f"initial on {dataset}"] = float(utilities[INITIAL])
    return found or None


def ranked(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Return the rows from the best to the worst by validation; ended before pruned before failed."""
    order = {"ended": 0, "pruned": 1, "running": 2, "waiting": 2, "failed": 3}
    return sorted(rows, key=lambda row: (order[row.state], -(row.validation or 0.0), row.number))


def budget(rows: Sequence[TrialRow], first: int) -> dict[str, float]:
    """Return the sums of what all searches cost, pruned and failed ones too.

    Args:
        rows: All trials.
        first: Evaluations of first positions that all searches here made together: also those of a search that was
            interrupted right behind them, which does not know of them any more.
    """
    costs = {name: sum(row.facts.get(name, 0) for row in rows) for name in FACTS}
    firsts = first + sum(row.facts.get("asked_first", 0) for row in rows if not row.here)
    return costs | {"evaluations": costs["evaluations"] - costs["asked_first"] + firsts, "first": firsts}


def write_report(folder: Path, rows: Sequence[TrialRow], space: DrawnSpace, best: int | None, first: int) -> None:
    """Write `sweep.csv` and `sweep.md`.

    Args:
        folder: The sweep's folder.
        rows: All trials.
        space: What was drawn.
        best: Number of the best search; None while others are running, or where none has ended.
        first: Evaluations of first positions that all searches here made together.
    """
    write_whole(folder / "sweep.md", render(rows, space, best, first))
    text = io.StringIO()
    writer = csv.writer(text)
    further = list(dict.fromkeys(name for row in rows for name in row.further))
    head = ["trial", "state", "validation_utility", "test_utility", "initial_test_utility", *further, *FACTS, *space]
    writer.writerow([*head, "why", "folder"])
    for row in rows:
        facts = [row.facts.get(name, "") for name in FACTS]
        drawn = [row.settings.get(key, "") for key in space]
        initial = None if row.initial is None else row.initial[2]
        scores = ["" if score is None else score for score in (row.validation, row.test, initial)]
        scores += [row.further.get(name, "") for name in further]
        writer.writerow([row.number, row.state, *scores, *facts, *drawn, row.why, row.folder])
    write_whole(folder / "sweep.csv", text.getvalue())


def outcome(
    rows: Sequence[TrialRow],
    space: DrawnSpace,
    best: int | None,
    first: int,
    spell: Callable[[object], str] = in_markdown,
) -> str:
    """Return in a few paragraphs of Markdown what came out, and what it cost.

    Args:
        rows: All trials.
        space: What was drawn.
        best: Number of the best search; None while others are running, or where none has ended.
        first: Evaluations of first positions that all searches here made together.
        spell: How names and values are written: a terminal shows them as they are.
    """
    states = Counter(row.state for row in rows)
    costs = budget(rows, first)
    found = next((row for row in rows if row.number == best), None)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    paragraphs = [f"{len(rows)} {'search' if len(rows) == 1 else 'searches'}: {counted}."]
    if found is not None and found.validation is not None:
        test = "no test split" if found.test is None else f"**{found.test:.4f} on test**"
        measured = (found.validation, found.data)
        equals = [row.number for row in rows if row.state == "ended" and (row.validation, row.data) == measured]
        named = names(space)
        drawn = ", ".join(f"{spell(named[key])} {spell(found.settings[key])}" for key in space if key in found.settings)
        paragraphs += [
            f"Best by validation: trial {found.number} ({drawn}), {found.validation:.4f} on validation, {test}."
            + _compared(found, equals, spell),
            "The validation utility is the highest of all searches, and so too high; the test score is not.",
        ]
    differing = ["by different validation examples"] if len({row.data for row in rows if row.data}) > 1 else []
    differing += [f"with different {key}" for key in sorted(keys_of(space)) if f"{key}.".startswith(f"{OBJECTIVE}.")]
    if differing:
        paragraphs.append(
            f"The searches were measured {' and '.join(differing)}: where that makes a task easier, the best of them "
            "is the one with the easiest task."
        )
    once = "once" if all(row.here for row in rows) else "once on each machine"
    paragraphs.append(
        f"Budget: {costs['evaluations']:.0f} (particle, example) evaluations in {costs['seconds']:.0f} s of searching, "
        f"pruned and failed searches included; {costs['first']:.0f} of them are those of the first positions, which "
        f"were asked {once} and saved the other searches {costs['taken']:.0f}."
    )
    return "\n\n".join(paragraphs)


def _compared(found: TrialRow, equals: Sequence[int], spell: Callable[[object], str]) -> str:
    """Return what a user wants to know beside the best search: what it began with, and who else is as good."""
    text = ""
    if found.initial is not None:
        name, validation, test = found.initial
        text += f" Its best initial expert, {spell(name)}: {validation:.4f} on validation"
        text += "." if test is None else f", {test:.4f} on test."
    if len(equals) > 1:
        text += f" Equal on validation: trials {', '.join(map(str, equals))}; the first of them is taken."
    return text


def render(rows: Sequence[TrialRow], space: DrawnSpace, best: int | None, first: int) -> str:
    """Return the report as Markdown; for the arguments see `outcome`."""
    named = names(space)
    lines = ["# Sweep", "", outcome(rows, space, best, first), "", "Drawn were:", ""]
    lines += [f"- {in_markdown(name)}, {_spelled(space[key])} ({in_markdown(key)})" for key, name in named.items()]
    lines += ["", *by_setting(rows, space)]
    columns = map(in_markdown, named.values())
    head = ["trial", "state", "validation", "test", "iterations", "evaluations", *columns, "why"]
    lines += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for row in ranked(rows):
        scores = ["" if score is None else f"{score:.4f}" for score in (row.validation, row.test)]
        facts = [str(row.facts.get(name, "")) for name in ("iterations", "evaluations")]
        drawn = [in_markdown(row.settings[key]) if key in row.settings else "" for key in space]
        cells = [str(row.number), row.state, *scores, *facts, *drawn, in_markdown(row.why) if row.why else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *FILES]) + "\n"


def grouped(rows: Sequence[TrialRow], space: DrawnSpace) -> list[tuple[dict[str, Any], list[TrialRow]]]:
    """Return the searches that have ended by their settings, seeds aside; nothing where no setting has several.

    Settings stand in the order in which the sweep's config lists their values.

    Args:
        rows: All trials.
        space: What was drawn.
    """
    keys = [key for key in space if key != SEED]
    if SEED not in space or not keys:
        return []
    groups: dict[str, tuple[dict[str, Any], list[TrialRow]]] = {}
    for row in rows:
        if row.state == "ended":
            settings = {key: row.settings.get(key) for key in keys}
            groups.setdefault(json.dumps(settings, sort_keys=True), (settings, []))[1].append(row)
    found = sorted(groups.values(), key=lambda group: [_place(group[0][key], space[key]) for key in keys])
    return found if any(len(own) > 1 for _, own in found) else []


def _place(value: Any, values: Choice | Range) -> float:
    """Return what a value is sorted by: its place in a list, or itself; behind all others where it was not drawn."""
    if isinstance(values, Choice):
        return values.values.index(value) if value in values.values else len(values.values)
    return math.inf if value is None else float(value)


def by_setting(rows: Sequence[TrialRow], space: DrawnSpace) -> list[str]:
    """Return a table of Markdown with the mean of every setting over its seeds, and how far seeds lie apart."""
    groups = grouped(rows, space)
    if not groups:
        return []
    named = names({key: values for key, values in space.items() if key != SEED})
    further = list(dict.fromkeys(name for row in rows for name in row.further))
    head = [*map(in_markdown, named.values()), "seeds", "validation", "test", "spread of test", "gain on test"]
    head += [*map(in_markdown, further), "evaluations", "seconds"]
    lines = ["By setting, means over the seeds:", "", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for settings, own in groups:
        tests = [row.test for row in own if row.test is not None]
        pairs = [(row.test, row.initial[2]) for row in own if row.initial]
        gains = [test - initial for test, initial in pairs if test is not None and initial is not None]
        cells = [*(in_markdown(settings[key]) for key in named), str(len(own))]
        cells += [_mean([row.validation for row in own if row.validation is not None]), _mean(tests)]
        cells += [f"{stdev(tests):.4f}" if len(tests) > 1 else "", _mean(gains, sign=True)]
        cells += [_mean([row.further[name] for row in own if name in row.further]) for name in further]
        cells += [f"{fmean(row.facts.get(name, 0) for row in own):.0f}" for name in ("evaluations", "seconds")]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _mean(values: Sequence[float], sign: bool = False) -> str:
    if not values:
        return ""
    return f"{fmean(values):+.4f}" if sign else f"{fmean(values):.4f}"


def _spelled(values: Choice | Range) -> str:
    if isinstance(values, Choice):
        return f"one of {', '.join(map(in_markdown, values.values))}"
    steps = "" if values.step is None else f" in steps of {values.step:g}"
    return f"{values.low:g} to {values.high:g}{steps}{', by its logarithm' if values.log else ''}"
