"""Reads what a benchmark printed."""

import json
from typing import Any

import pytest


def last_line(captured: "pytest.CaptureFixture[str]") -> dict[str, Any]:
    """Return the JSON object on the last line of stdout, and check that a table stands above it."""
    *text, last = captured.readouterr().out.strip().splitlines()
    assert any(line.startswith("| ") for line in text)
    numbers = json.loads(last)
    assert isinstance(numbers, dict)
    assert numbers["machine"]
    return numbers
