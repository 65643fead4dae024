"""Tables, numbers and texts of users as HTML: everything that is not of this package is escaped."""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

LONGEST = 600  # characters of a text in a table
LONG = 30  # from here on a text wants more than the width of a word


def table_of_frame(frame: "pandas.DataFrame", names: Sequence[str]) -> str:
    """Return some columns of a data frame as a table that can be sorted; nothing where it has no rows."""
    return table_of(names, frame[list(names)].to_numpy().tolist()) if len(frame) else ""


def table_of(names: Sequence[str], rows: Sequence[Sequence[Any]], links: Mapping[Any, str] | None = None) -> str:
    """Return a table that can be sorted.

    Args:
        names: Of the columns.
        rows: The values of each.
        links: What stands for some values of the first column, as HTML.
    """
    head = "".join(f"<th data-sort>{html.escape(str(name))}</th>" for name in names)
    body = ""
    for first, *others in rows:
        link = (links or {}).get(first)
        shown = _cell(first) if link is None else f'<td class="number" data-value="{first}">{link}</td>'
        body += f"<tr>{shown}{''.join(map(_cell, others))}</tr>"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def text_cell(value: Any) -> str:
    """Return a cell with a text that keeps its lines."""
    return f'<td class="text">{shortened(value)}</td>'


def shortened(value: Any) -> str:
    """Return a text that is not too long, escaped."""
    text = "" if value is None or value != value else str(value)
    return html.escape(text if len(text) <= LONGEST else f"{text[:LONGEST]} [...]")


def counted(count: int, what: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "iteration"), counted(2000, "example")
    ('1 iteration', '2,000 examples')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it.

    >>> duration(26.3), duration(600), duration(7560)
    ('26 s', '10 min', '2.1 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "<td></td>"
    if isinstance(value, float | int) and not isinstance(value, bool):
        shown = f"{value:.4f}" if isinstance(value, float) and value != int(value) else f"{value:,.0f}"
        return f'<td class="number" data-value="{value}">{shown}</td>'
    kind = ' class="long"' if len(str(value)) > LONG else ""
    return f"<td{kind}>{shortened(value)}</td>"
