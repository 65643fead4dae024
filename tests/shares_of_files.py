"""What each test file takes of a whole run: none may quietly grow.

It is a share of the run and no number of seconds, as machines differ, and so does what they do beside the tests.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import pytest

LARGEST_SHARE = 0.12
FEWEST_TESTS = 2000  # fewer are a choice of files, in which one may be the largest part
SHOWN = 10


def seconds_of_files(reports: Iterable[object]) -> dict[str, float]:
    """Add up the seconds of all tests of a file, those before and behind them included."""
    seconds: dict[str, float] = defaultdict(float)
    for report in reports:
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.split("::")[0]] += report.duration
    return seconds


def grown(seconds: Mapping[str, float]) -> list[str]:
    """Name the files that take more than their share of the run."""
    return [name for name, taken in seconds.items() if taken > LARGEST_SHARE * sum(seconds.values())]


def lines_about(seconds: Mapping[str, float]) -> list[str]:
    """Say which files took longest, and what to do about those that have grown too large."""
    whole = sum(seconds.values())
    longest = sorted(seconds, key=lambda name: -seconds[name])[:SHOWN]
    return [f"{seconds[name]:6.0f} s {seconds[name] / whole:4.0%}  {name}" for name in longest] + [
        f"Expected no test file to take more than {LARGEST_SHARE:.0%} of the run, but {name} takes "
        f"{seconds[name] / whole:.0%}. Share searches among its tests, make them smaller, or mark the longest as slow."
        for name in grown(seconds)
    ]
