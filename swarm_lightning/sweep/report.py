"""What a sweep reports: every search, the whole budget, and the best by validation with its test score.

Made from the study and the summaries in the run folders, so it can be made at any time, by any process.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_lightning.experts.model_card import escape
from swarm_lightning.files import write_whole
from swarm_lightning.sweep.space import Space

if TYPE_CHECKING:
    from swarm_lightning.sweep.study import SweepStudy

SUMMARY = "summary.json"
FACTS = ("iterations", "restarts", "evaluations", "asked_first", "taken", "generated_tokens", "seconds")
STATES = {"COMPLETE": "ended", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


@dataclass(frozen=True)
class TrialRow:
    """One search of a sweep.

    Attributes:
        number: Its number.
        state: ended, pruned, failed or running.
        settings: What it drew, by key.
        validation: Utility of the best found expert on the split that guided the search; None where it failed.
        test: Its utility on the test split; None where it was not scored.
        facts: Iterations, restarts, evaluations, those of them that the first positions took, those that were taken
            from other searches instead, generated tokens, seconds.
        why: Why it failed.
        folder: Its run folder.
    """

    number: int
    state: str
    settings: Mapping[str, Any]
    validation: float | None
    test: float | None
    facts: Mapping[str, float]
    why: str
    folder: str


def rows_of(study: "SweepStudy") -> list[TrialRow]:
    """Return what is known of every trial, in the order of their numbers."""
    rows = []
    for trial in study.trials():
        folder = study.folder_of(trial.number)
        attributes = trial.user_attrs
        rows.append(
            TrialRow(
                trial.number,
                STATES[trial.state.name],
                attributes.get("settings", trial.params),
                attributes.get("validation"),
                test_of(folder),
                {name: attributes[name] for name in FACTS if name in attributes},
                attributes.get("error", ""),
                str(folder),
            )
        )
    return rows


def test_of(folder: Path) -> float | None:
    """Return the test utility of a run's best found expert, where it was scored."""
    try:
        rows = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["test"]
    except (OSError, ValueError, KeyError):
        return None
    return float(rows[-1]["utility"]) if rows else None


def ranked(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Return the rows from the best to the worst by validation; ended before pruned before failed."""
    order = {"ended": 0, "pruned": 1, "running": 2, "waiting": 2, "failed": 3}
    return sorted(rows, key=lambda row: (order[row.state], -(row.validation or 0.0), row.number))


def budget(rows: Sequence[TrialRow], first: int) -> dict[str, float]:
    """Return the sums of what all searches cost, pruned and failed ones too.

    Args:
        rows: All trials.
        first: Evaluations of first positions that all searches made together: also those of a search that was
            interrupted right behind them, which does not know of them any more.
    """
    costs = {name: sum(row.facts.get(name, 0) for row in rows) for name in FACTS}
    return costs | {"evaluations": costs["evaluations"] - costs["asked_first"] + first, "first": first}


def write_report(folder: Path, rows: Sequence[TrialRow], space: Space, best: int | None, first: int) -> None:
    """Write `sweep.csv` and `sweep.md`.

    Args:
        folder: The sweep's folder.
        rows: All trials.
        space: What was drawn.
        best: Number of the best search; None while others are running, or where none has ended.
        first: Evaluations of first positions that all searches made together.
    """
    write_whole(folder / "sweep.md", render(rows, space, best, first))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["trial", "state", "validation_utility", "test_utility", *FACTS, *space, "why", "folder"])
    for row in rows:
        facts = [row.facts.get(name, "") for name in FACTS]
        drawn = [row.settings.get(key, "") for key in space]
        scores = ["" if score is None else score for score in (row.validation, row.test)]
        writer.writerow([row.number, row.state, *scores, *facts, *drawn, row.why, row.folder])
    write_whole(folder / "sweep.csv", text.getvalue())


def render(rows: Sequence[TrialRow], space: Space, best: int | None, first: int) -> str:
    """Return the report as Markdown.

    Args:
        rows: All trials.
        space: What was drawn.
        best: Number of the best search; None while others are running, or where none has ended.
        first: Evaluations of first positions that all searches made together.
    """
    states = Counter(row.state for row in rows)
    costs = budget(rows, first)
    found = next((row for row in rows if row.number == best), None)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    lines = ["# Sweep", "", f"{len(rows)} searches: {counted}.", ""]
    if found is not None and found.validation is not None:
        test = "no test split" if found.test is None else f"**{found.test:.4f} on test**"
        lines += [
            f"Best by validation: trial {found.number}, {found.validation:.4f} on validation, {test}.",
            "The validation utility is the highest of all searches, and so too high; the test score is not.",
            "",
        ]
    lines += [
        f"Budget: {costs['evaluations']:.0f} (particle, example) evaluations in {costs['seconds']:.0f} s of searching, "
        f"pruned and failed searches included; {first} of them are those of the first positions, which were asked once "
        f"and saved the other searches {costs['taken']:.0f}.",
        "",
    ]
    shorts = [key.replace(".init_args", "") for key in space]
    head = ["trial", "state", "validation", "test", "iterations", "evaluations", *shorts, "why"]
    lines += [f"| {' | '.join(map(escape, head))} |", "|" + " --- |" * len(head)]
    for row in ranked(rows):
        scores = ["" if score is None else f"{score:.4f}" for score in (row.validation, row.test)]
        facts = [str(row.facts.get(name, "")) for name in ("iterations", "evaluations")]
        drawn = [escape(row.settings[key]) if key in row.settings else "" for key in space]
        cells = [str(row.number), row.state, *scores, *facts, *drawn, escape(row.why) if row.why else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
