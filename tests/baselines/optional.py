"""The libraries of the extra `compare` that single methods need."""

from importlib.util import find_spec

import pytest

LIBRARIES = {"lorahub": "nevergrad", "evolmerge": "cma"}


def missing() -> set[str]:
    """Name the methods whose library is not installed."""
    return {name for name, library in LIBRARIES.items() if find_spec(library) is None}


def need(name: str) -> None:
    """Skip the test of a method whose library is not installed."""
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
