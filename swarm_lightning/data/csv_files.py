"""Reads .csv and .tsv files: a header, then one record a line, every cell a text.

They are parsed here and not by the `datasets` library, which guesses types, fills short records up, and can take a
long one for a record that begins a column earlier. What could stand in the wrong column is refused with its line.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swarm_lightning.data.notices import Notice
from swarm_lightning.data.tables import Record, Source, Table
from swarm_lightning.errors import InputError
from swarm_lightning.texts import MARK, read_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}
DELIMITER_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
SHOWN_AT_MOST = 40


@dataclass(frozen=True)
class _Line:
    """The cells of a record, and the line of the file that it begins in, counted from 1."""

    number: int
    cells: list[str]


def open_csv(path: Path, delimiter: str = ",") -> Source:
    """Open a .csv or .tsv file with a header line. Every cell is text, and an empty cell is a missing value.

    Texts such as "None", "NA" or "0042" stay as they are. White space around the names of columns is no part of them.
    A first column without a name, which is the index that pandas writes, is left out, and so are columns without name
    and content, which come from a delimiter at the end of every line.

    Raises:
        InputError: If the file has no records, a column twice, another delimiter, records of another length than the
            header, a quote that is never closed, or a column that holds something but has no name.
    """
    return _open(path, delimiter, padding=True)


def check_csv(path: Path, delimiter: str = ",") -> None:
    """Refuse a file that another library shall read, wherever `open_csv` would refuse it.

    Raises:
        InputError: As `open_csv`; also if every record but not the header ends in a delimiter, which others take for a
            first column without a name.
    """
    _open(path, delimiter, padding=False)


def _open(path: Path, delimiter: str, padding: bool) -> Source:
    text = read_text(path)
    zero = text.find("\0")
    if zero >= 0:
        raise InputError(
            f"Expected text in {path}, but line {text.count(chr(10), 0, zero) + 1} holds a NUL character. Save it as "
            "UTF-8 text without NULs."
        )
    lines = list(_lines(text, path, delimiter))
    if len(lines) < 2:
        raise InputError(f"Expected records in {path}, but there is {'only a header' if lines else 'nothing'}.")
    header, records = [name.strip().strip(MARK).strip() for name in lines[0].cells], lines[1:]
    if len(header) == 1:
        _refuse_other_delimiter(header[0], path, delimiter)
    notices = []
    spaced = [name for name, stored in zip(header, lines[0].cells, strict=True) if name != stored and name]
    if spaced:
        message = f"In the header of {path}, white space around {', '.join(map(repr, spaced))} was left out."
        notices.append(Notice("column names", "info", message, len(spaced)))
    if padding and all(len(line.cells) == len(header) + 1 and not line.cells[-1] for line in records):
        header.append("")
    _refuse_other_lengths(header, records, path, delimiter)
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(
            f"Expected each column of {path} once, but these occur twice: {', '.join(twice)}. Rename them."
        )
    index, empty = _unnamed(header, records, path)
    if index:
        message = (
            f"The first column of {path} has no name and was left out: pandas writes its index so. Give it a name if "
            "it is wanted."
        )
        notices.append(Notice("unnamed column", "info", message, 1))
    if empty:
        message = (
            f"Columns without name and content in {path} were left out ({len(empty)} of {len(header)}): a delimiter at "
            "the end of every line makes one."
        )
        notices.append(Notice("unnamed column", "info", message, len(empty)))
    named = [place for place, name in enumerate(header) if name]
    if not named:
        raise InputError(
            f"Expected names of columns in line {lines[0].number} of {path}, but there are none. Add them."
        )
    content: list[Record] = [{header[place]: line.cells[place] or None for place in named} for line in records]
    return Source(path.stem, str(path), {"": lambda: Table(str(path), content)}, tuple(notices))


def _lines(text: str, path: Path, delimiter: str) -> Iterator[_Line]:
    """Split text into records; lines without any content are passed over."""
    # Strict, or a quote that is never closed would swallow the rest of the file. Line ends stay in quoted cells.
    rows = csv.reader(re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text), delimiter=delimiter, strict=True)
    number = 1
    with _unlimited(len(text)):
        try:
            for row in rows:
                if row and not (len(row) == 1 and row[0].isspace()):
                    yield _Line(number, row)
                number = rows.line_num + 1
        except csv.Error as error:
            _refuse_other_delimiter(next((line for line in text.splitlines() if line.strip()), ""), path, delimiter)
            raise InputError(
                f"Expected {path} to be a csv file with records, but the one that begins in line {number} is broken: "
                f"{error}. Close every quote, and write a quote inside a quoted cell twice."
            ) from error


@contextmanager
def _unlimited(length: int) -> Iterator[None]:
    """Let a cell be as long as its file: the module stops at 131072 characters, for all who use it."""
    before = csv.field_size_limit(length + 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _refuse_other_delimiter(header: str, path: Path, delimiter: str) -> None:
    if delimiter in header:
        return
    other = next((sign for sign in DELIMITER_NAMES if sign != delimiter and sign in header), None)
    if other is not None:
        ending = next((suffix for suffix, sign in DELIMITERS.items() if sign == other), None)
        advice = f"name it {path.stem}{ending}" if ending else f"save it with {DELIMITER_NAMES[delimiter]}"
        raise InputError(
            f"Expected the columns of {path} to be separated by {DELIMITER_NAMES[delimiter]}, but the header is the "
            f"one name {_shown(header)}, which looks separated by {DELIMITER_NAMES[other]}. If it is, {advice}; "
            "otherwise rename the column."
        )


def _refuse_other_lengths(header: Sequence[str], records: Sequence[_Line], path: Path, delimiter: str) -> None:
    odd = [line for line in records if len(line.cells) != len(header)]
    if not odd:
        return
    first = odd[0]
    cells = f"{len(first.cells)} cell" if len(first.cells) == 1 else f"{len(first.cells)} cells"
    if len(first.cells) > len(header):
        advice = (
            "Put a cell that holds a delimiter in quotes, without a blank before them, and end no line in a delimiter"
        )
    else:
        advice = "Leave missing cells empty, but write their delimiters"
    more = f", and {len(odd) - 1} more are of another length than the header" if len(odd) > 1 else ""
    raise InputError(
        f"Expected {len(header)} cells in every record of {path}, as many as the header has columns "
        f"({', '.join(map(repr, header))}), but the record in line {first.number} has {cells} "
        f"({', '.join(map(_shown, first.cells))}){more}. {advice} ({DELIMITER_NAMES[delimiter]} separate cells)."
    )


def _unnamed(header: Sequence[str], records: Sequence[_Line], path: Path) -> tuple[bool, list[int]]:
    """Say whether the first column is an index without a name, and which columns have neither name nor content."""
    index, empty = False, []
    for place in [place for place, name in enumerate(header) if not name]:
        filled = next((line for line in records if line.cells[place].strip()), None)
        if filled is None:
            empty.append(place)
        elif place == 0:
            index = True
        else:
            raise InputError(
                f"Expected a name for every column of {path}, but column {place + 1} has none and holds "
                f"{_shown(filled.cells[place])} in line {filled.number}. Name it in the header, or remove it."
            )
    return index, empty


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= SHOWN_AT_MOST else cell[:SHOWN_AT_MOST] + "...")
