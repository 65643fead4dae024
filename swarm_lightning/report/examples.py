"""The examples of a page with the replies of the best initial and the best found expert, what changed first.

Where scores are of two kinds only, a reply is right or wrong; else, as with judges and rewards, it is better or worse
than the other by its score.
"""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from swarm_lightning.names import FOUND, INITIAL
from swarm_lightning.report.run import Run
from swarm_lightning.report.tables import counted, table_of, text_cell

if TYPE_CHECKING:
    import pandas

# What can become of an example, in the order in which they are listed: its class, and how it is called.
OF_RIGHT = {
    "emerged": "newly right",
    "lost": "newly wrong",
    "wrong": "wrong before and after",
    "right": "right before and after",
}
OF_GRADED = {"emerged": "better", "lost": "worse", "same": "the same score"}
SHOWN_FIRST = ("emerged", "lost")


@dataclass(frozen=True)
class ReplyPairs:
    """The replies of the two to every example of a split.

    Attributes:
        split: Which one.
        rows: One per example: its question, choices, gold answer and task, and the replies and scores `before` and
            `after`.
    """

    split: str
    rows: "pandas.DataFrame"

    @cached_property
    def graded(self) -> bool:
        """Whether scores say more than right or wrong."""
        return len({*self.rows.score_before, *self.rows.score_after}) > 2

    @cached_property
    def tasks(self) -> list[str]:
        """The names of the tasks, where there are several."""
        names = sorted({str(task) for task in self.rows.task if task})
        return names if len(names) > 1 else []


def pairs_of(run: Run) -> ReplyPairs | None:
    """Return the replies to the test split, or where there are none those to the other; None without any."""
    for split in ("test", "validation"):
        replies = run.replies.get(split)
        if replies is None or replies.empty:
            continue
        before, after = (replies[replies.expert == name].reset_index(drop=True) for name in (INITIAL, FOUND))
        if len(before) != len(after) or before.empty:
            continue
        asked = after[["question", "choices", "gold"]].assign(task=after.task if "task" in after else "")
        rows = asked.assign(before=before.reply, after=after.reply, score_before=before.score, score_after=after.score)
        return ReplyPairs(split, rows)
    return None


def examples(run: Run, room: int) -> str:
    """Return the examples with both replies, to be filtered by what became of them, by task and by words.

    Args:
        run: A search.
        room: Characters that there is room for.
    """
    pairs = pairs_of(run)
    if pairs is None:
        return ""
    names = OF_GRADED if pairs.graded else OF_RIGHT
    by_kind: dict[str, list[tuple[float, str]]] = {kind: [] for kind in names}
    scores = pairs.rows[["score_before", "score_after"]].to_numpy()
    middle = (float(scores.max()) + float(scores.min())) / 2
    for row in pairs.rows.to_dict("records"):
        kind = _kind(row, pairs.graded, middle)
        by_kind[kind].append((-abs(row["score_after"] - row["score_before"]), _row(row, kind, names[kind], pairs)))
    ordered = [[text for _, text in sorted(rows, key=lambda entry: entry[0])] for rows in by_kind.values()]
    # What got better and what got worse take turns, so that neither takes all the room.
    changed = [text for pair in zip_longest(*ordered[:2]) for text in pair if text]
    shown, used = list[str](), 0
    for text in [*changed, *(text for rows in ordered[2:] for text in rows)]:
        used += len(text)
        if used > room:
            break
        shown.append(text)
    left = len(pairs.rows) - len(shown)
    more = f'<p class="note">{left} more are in replies/{pairs.split}.parquet.</p>' if left else ""
    heads = ["", *(["task"] if pairs.tasks else []), "question", INITIAL, FOUND, "gold"]
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f"<p>The {pairs.split} split, {counted(len(pairs.rows), 'example')}:</p>"
        f"{filters({names[kind]: (kind, len(rows)) for kind, rows in by_kind.items()}, pairs.tasks)}"
        f'<div class="scroll"><table class="examples"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(shown)}</tbody></table></div>{more}"
    )


def wins(run: Run) -> str:
    """Say how often the reply of the best found expert is better than that of the best initial one, by scores.

    Args:
        run: A search; the judge's own comparison is told where `swarm test` has asked for it.
    """
    pairs = pairs_of(run)
    if pairs is None or not pairs.graded:
        return ""
    difference = pairs.rows.score_after - pairs.rows.score_before
    won, lost = int((difference > 0).sum()), int((difference < 0).sum())
    tied, count = len(difference) - won - lost, len(difference)
    judged = _judged(run.tested)
    return (
        f"<p>On the {pairs.split} split, the best found expert's reply has a higher score than the best initial "
        f"expert's for {won} of {counted(count, 'example')}, a lower one for {lost}, the same for {tied}: a win rate "
        f"of {(won + tied / 2) / count:.1%}, ties counted half.{judged}</p>"
    )


def tasks_table(run: Run) -> str:
    """Return the scores of the best initial and the best found expert on every task; nothing without several."""
    for split in ("test", "validation"):
        rows = run.summary.get(split, [])
        if len(rows) > 1 and all(row.get("parts") for row in rows[:2]):
            before, after = (row["parts"] for row in rows[:2])
            table = [[task, before[task], after[task], after[task] - before[task]] for task in before if task in after]
            return f"<p>On the {split} split:</p>" + table_of(["task", INITIAL, FOUND, "difference"], table)
    return ""


def filters(kinds: dict[str, tuple[str, int]], tasks: Sequence[str], *also: str) -> str:
    """Return what filters the rows of the table that comes next.

    Args:
        kinds: By the name of a kind the class of its rows, and how many there are.
        tasks: To choose among; each row says its own.
        also: Classes that are shown from the beginning beside what got better or worse.
    """
    chosen = {*SHOWN_FIRST, *also}
    boxes = "".join(
        f'<label><input type="checkbox" value="{kind}"{" checked" if kind in chosen else ""}> {name} ({count})</label>'
        for name, (kind, count) in kinds.items()
    )
    options = "".join(f'<option value="{html.escape(task)}">{html.escape(task)}</option>' for task in tasks)
    choice = f'<label>task <select><option value="">all</option>{options}</select></label>' if tasks else ""
    return f'<div class="filters">{boxes}{choice}<label>find <input type="search"></label></div>'


def asked(row: dict[str, Any]) -> str:
    """Return the question of a row with its choices."""
    choices = row.get("choices")
    listed = (
        "".join(f"\n{label}: {text}" for label, text in json.loads(choices).items()) if isinstance(choices, str) else ""
    )
    return f"{row['question']}{listed}"


def _judged(tested: "pandas.DataFrame") -> str:
    if not {"name", "win_rate"} <= set(tested.columns):
        return ""
    found = tested[(tested.name == FOUND) & tested.win_rate.notna()]
    return (
        f" The judge, asked to compare the replies, prefers it in {found.win_rate.iloc[0]:.1%}." if len(found) else ""
    )


def _kind(row: dict[str, Any], graded: bool, middle: float) -> str:
    old, new = row["score_before"], row["score_after"]
    if graded:
        return "emerged" if new > old else "lost" if new < old else "same"
    right = (old > middle, new > middle)
    return {(False, True): "emerged", (True, False): "lost", (False, False): "wrong", (True, True): "right"}[right]


def _row(row: dict[str, Any], kind: str, name: str, pairs: ReplyPairs) -> str:
    task = html.escape(str(row["task"])) if pairs.tasks else ""
    scores = f"<br>{row['score_before']:.3g} to {row['score_after']:.3g}" if pairs.graded else ""
    cells = [f"<td>{name}{scores}</td>", *([f"<td>{task}</td>"] if pairs.tasks else [])]
    cells += [text_cell(text) for text in (asked(row), row["before"], row["after"], row["gold"])]
    of_task = f' data-task="{task}"' if pairs.tasks else ""
    return f'<tr class="{kind}"{of_task}>{"".join(cells)}</tr>'
