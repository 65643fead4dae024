"""How texts of users are shown: names, paths and replies are text, never markup and never commands to a terminal.

A name may hold square brackets (markup to rich), `|` and backticks (marks of Markdown), line breaks or the control
characters that colour a terminal. Whatever prints or writes such a text for people takes it through here.
"""

import json
import logging
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO

    from rich.table import Table
    from rich.text import Text

MARKDOWN_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:@])")
UNBROKEN = 2000  # columns of a table in a file, more than any table needs
_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, half surrogate pairs, other ends of lines
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def written_out(text: str, keep: str = "") -> str:
    r"""Return a text with what would move a terminal's cursor, colour it or turn its direction written as escapes.

    Args:
        text: Any text.
        keep: Characters that stay as they are, such as line breaks.

    >>> written_out("\x1b[31m[red] :smile:\n")
    '\\x1b[31m[red] :smile:\\n'
    """
    return "".join(
        repr(character)[1:-1]
        if character not in keep and (unicodedata.category(character) in _CATEGORIES or character in _DIRECTIONS)
        else character
        for character in text
    )


def for_terminal(text: str, keep: str = "", stream: "TextIO | None" = None) -> str:
    """Return a text as `written_out`, with escapes also for what the encoding of the output does not have.

    Args:
        text: Any text.
        keep: Characters that stay as they are.
        stream: Where it goes; None for the standard output.
    """
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return written_out(text, keep).encode(encoding, "backslashreplace").decode(encoding)


def with_interval(value: float, low: float | None, high: float | None, sign: str = "", digits: int = 4) -> str:
    """Return a number with its interval in brackets, or alone where there is none.

    Args:
        value: The number.
        low: Lower end; None without an interval.
        high: Upper end.
        sign: `+` for a difference, which always has a sign.
        digits: Behind the point.

    >>> with_interval(0.1, 0.05, 0.15), with_interval(0.1, -0.05, 0.25, "+", 2)
    ('0.1000 [0.0500, 0.1500]', '+0.10 [-0.05, +0.25]')
    """
    form = f"{sign}.{digits}f"
    return f"{value:{form}}" if low is None or high is None else f"{value:{form}} [{low:{form}}, {high:{form}}]"


def say(line: str, flush: bool = False) -> None:
    """Print one line.

    Args:
        line: With names of users in it or without.
        flush: Whether it has to be seen at once.
    """
    print(for_terminal(line), flush=flush)


def show_table(table: "Table") -> None:
    """Print a table on stdout: at the width of a terminal, in a file without broken lines.

    Args:
        table: Any table of rich.
    """
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = UNBROKEN
    elif console.width == 0:  # as COLUMNS=0 and the terminals of some containers say
        console.width = 80
    console.print(table)


def cell(text: str) -> "Text":
    """Return what a table of rich shows literally: no markup, no emoji codes."""
    from rich.text import Text

    return Text(for_terminal(text))


def show_notices_literally() -> None:
    """Let warnings and the notices of Lightning's logger through as text only, for the rest of the process."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_literal)
    before = warnings.formatwarning
    if isinstance(before, _LiteralFormat):
        return
    warnings.formatwarning = _LiteralFormat(before)


def _literal(record: logging.LogRecord) -> bool:
    record.msg, record.args = for_terminal(record.getMessage(), "\n\t", sys.stderr), ()
    return True


class _LiteralFormat:
    """Formats a warning as before, and shows the text literally."""

    def __init__(self, before: Callable[..., str]) -> None:
        self._before = before

    def __call__(self, *warning: Any, **line: Any) -> str:
        return for_terminal(self._before(*warning, **line), "\n\t", sys.stderr)


def in_markdown(value: object) -> str:
    r"""Return a value as one line of Markdown that shows it literally.

    >>> print(in_markdown("a|b <i>"))
    a\|b &lt;i&gt;
    """
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, str) and value.isprintable():
        text = value
    else:  # a line break is shown as \n
        text = json.dumps(value, default=str, ensure_ascii=False)
    text = "".join(character if character.isprintable() else " " for character in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKDOWN_MARKS.sub(r"\\\1", text)
