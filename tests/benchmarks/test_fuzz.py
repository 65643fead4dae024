"""The fuzz run really tries inputs, keeps those that reach something new, and reports what is no InputError."""

from pathlib import Path

import pytest

import fuzz
from tests.benchmarks.last_line import last_line


def test_every_target_is_tried_and_nothing_is_found(capsys: "pytest.CaptureFixture[str]") -> None:
    fuzz.main(["--inputs", "30"])
    found = last_line(capsys)["targets"]
    assert len(found) == 4
    for one in found.values():
        assert one["inputs"] == 30 == one["read"] + one["refused"]
        assert one["kept"] > 1
        assert one["findings"] == {}


def test_an_exception_that_is_no_refusal_is_a_finding_with_its_input() -> None:
    def read(folder: Path, content: bytes) -> None:
        if content != b"whole":
            raise KeyError("lost")

    found = fuzz.fuzz(read, [b"whole"], seconds=60, most=5, seed=0)
    ((where, content),) = found["findings"].items()
    assert where.startswith("KeyError:")
    assert content.startswith("b")
    assert (found["inputs"], found["read"]) == (5, 1)
