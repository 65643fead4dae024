"""The commands really start; no time is asserted."""

import pytest

import startup
from tests.benchmarks.last_line import last_line


@pytest.mark.slow
def test_every_command_runs_in_a_process_of_its_own(capsys: "pytest.CaptureFixture[str]") -> None:
    startup.main(["--repeats", "1", "--no-warm-up"])
    numbers = last_line(capsys)
    assert numbers["benchmark"] == "startup"
    assert {name: len(turns) for name, turns in numbers["seconds"].items()} == dict.fromkeys(startup.COMMANDS, 1)
    assert numbers["printed_bytes"]["swarm --help"] > 0
    assert numbers["printed_bytes"]["import swarm_lightning"] == 0
