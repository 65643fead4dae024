"""The benchmark of full checkpoints, run for real on tiny ones."""

import sys
from pathlib import Path

import pytest

import full_checkpoints
from tests.benchmarks.last_line import last_line


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="drops files from the page cache as only Linux can")
def test_moves_and_loads_are_measured_and_extrapolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--size", "tiny", "--particles", "--move-particles", "3", "--repeats", "1", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["full_checkpoints.py", *sizes])
    full_checkpoints.main()
    numbers = last_line(capsys)
    # A Llama of 2 layers: 512 x 64 embeddings; queries and outputs 64 x 64, keys and values 64 x 32, three matrices of
    # 64 x 128 and two norms a layer; a norm behind them.
    weights = 512 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64) + 64
    assert numbers["weights"] == weights
    assert numbers["move"]["read"] == 3 * 3 * 4 * weights
    assert numbers["move"]["written"] == 2 * 3 * 4 * weights
    assert numbers["large"]["disk"] == 102 * 28_000_000_000
    assert list(tmp_path.iterdir()) == []
