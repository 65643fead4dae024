"""The benchmark of the memory, run for real in fresh processes on a small swarm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "memory.py"
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which only Linux has")


@LINUX
def test_the_plain_move_needs_less_than_a_tenth_of_the_state_on_top_of_it() -> None:
    sizes = ["--particles", "6", "--dimensions", "2000000", "--kernels", "plain", "--iterations", "0"]
    ended = subprocess.run([sys.executable, str(PROGRAM), *sizes], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    *text, last = ended.stdout.splitlines()
    numbers = json.loads(last)["iteration"]["plain"]
    # x, v and p of 6 particles, g and w: 20 rows of 2 million numbers of 4 bytes.
    assert numbers["state"] == 160_000_000
    assert numbers["extra"] < 16_000_000
    assert any(line.startswith("| plain | 160.0 |") for line in text)
