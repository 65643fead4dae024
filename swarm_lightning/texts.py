"""Reads the text of files that users bring, whatever byte-order mark an editor or a spreadsheet has put in front."""

import codecs
from pathlib import Path

from swarm_lightning.errors import InputError

MARK = "\ufeff"
# Those of UTF-32 come first: one of them begins with a mark of UTF-16.
ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path) -> str:
    """Read a file of text: UTF-8, or what its byte-order mark says. Marks in front are no part of it.

    Args:
        path: The file. Its line ends stay as they are.

    Raises:
        InputError: If it can't be read, or is no such text; then with the place of the first byte that is not.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"Expected text in {path}, but it can't be read: {error.strerror or error}.") from error
    encoding = next((found for mark, found in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding).lstrip(MARK)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"Expected {path} to be {encoding.upper()} text, but byte {error.start} (line {line}) is not. Convert it "
            "to UTF-8."
        ) from error
