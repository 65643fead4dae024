"""Both backends run for real on the demo world; no time is asserted."""

from importlib.util import find_spec

import pytest

import engines
from tests.benchmarks.last_line import last_line


def test_the_processor_time_counts_what_this_process_does() -> None:
    before = engines.processor_seconds()
    sum(number * number for number in range(1_000_000))
    assert engines.processor_seconds() > before


@pytest.mark.vllm
@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
def test_both_backends_reply_alike(capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--particles", "1", "--examples", "2", "--new-tokens", "3", "5", "--repeats", "1"]
    engines.main(["--shapes", "demo", *size, "--clock", "cpu"])
    found = last_line(capsys)["found"]["demo"]
    for limit in (3, 5):
        assert found[str(limit)]["equal_replies"] >= 0.9
        assert 0 < found[str(limit)]["tokens_per_reply"] <= limit
