"""Text with and without byte-order marks."""

from pathlib import Path

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.texts import read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_the_same_with_every_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes("é\r\n\U0001f600".encode(encoding))
    assert read_text(path) == "é\r\n\U0001f600"


def test_a_mark_twice_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("\ufeff\ufeffa", encoding="utf-8")
    assert read_text(path) == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\xe9\n", r"UTF-8 text, but byte 3 \(line 2\)"),
        (b"\xed\xa0\xbd", "UTF-8 text, but byte 0"),
        (b"\xff\xfea", "UTF-16 text"),
    ],
)
def test_other_bytes_are_refused_with_their_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_text(path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_text(tmp_path)
