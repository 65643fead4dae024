"""The sizes are those of the published models, counted by hand."""

import pytest

import large_bases
from tests.benchmarks.last_line import last_line


def test_the_sizes_follow_from_the_shapes(capsys: "pytest.CaptureFixture[str]") -> None:
    large_bases.main(["--rank", "16", "--particles", "20", "--experts", "10"])
    gib = last_line(capsys)["gib"]
    # 6,738,415,616 weights of Llama-2-7B in bfloat16; 32 layers of four square projections, of 4096 to 4096.
    assert gib["7B"]["base"] == pytest.approx(2 * 6_738_415_616 / 2**30, rel=1e-6)
    weights = 16 * 32 * 4 * (4096 + 4096)
    assert gib["7B"]["particles"] == pytest.approx(20 * weights * 4 / 2**30)
    assert gib["7B"]["swarm"] == pytest.approx((3 * 20 + 2 + 10) * weights * 4 / 2**30)
    # 1,235,814,400 weights of Llama-3.2-1B, with its head tied.
    assert gib["1B"]["base"] == pytest.approx(2 * 1_235_814_400 / 2**30, rel=1e-6)
    # Keys and values of 512 tokens alone: 2 x 40 layers x 5120 x 2 bytes x 512.
    assert gib["13B"]["row"] > 2 * 40 * 5120 * 2 * 512 / 2**30
