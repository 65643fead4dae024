"""The benchmark of the move, run for real on a small swarm; its times are not looked at."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from swarm_lightning.swarm.rules import move


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "move.py"
    specification = importlib.util.spec_from_file_location("benchmark_move", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_peer_is_measured_and_the_last_line_is_json(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--particles", "3", "--dimensions", "40000", "--repeats", "2", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["move.py", *sizes])
    benchmark.main()
    *text, last = capsys.readouterr().out.splitlines()
    peers = json.loads(last)["peers"]
    yardstick, *others = peers
    assert yardstick == "in-place addition"
    assert peers[yardstick]["ratio"] == 1
    assert {"chained out of place", "loops over dictionaries", "whole rows in place", "ours, plain"} <= set(others)
    assert all(any(f"| {name} |" in line for line in text) for name in peers)
    # 5 N D numbers of 4 bytes against 3: the ratio follows from the times.
    plain, addition = peers["ours, plain"], peers[yardstick]
    assert plain["ratio"] == pytest.approx(5 / 3 * addition["milliseconds"] / plain["milliseconds"])


def test_the_peers_do_the_same_move(benchmark: ModuleType) -> None:
    ours, rows = (benchmark.random_swarm(3, 1000, "cpu") for _ in range(2))
    draws = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    shares = benchmark.COEFFICIENTS.weigh(draws)
    benchmark.chained(ours, shares.T.unsqueeze(2).float())
    benchmark.dictionaries(benchmark.split(ours), shares.tolist())
    assert ours.positions.equal(rows.positions), "these two leave the swarm as it is"
    move(ours, draws, benchmark.COEFFICIENTS, benchmark.STEP_LENGTH)
    benchmark.whole_rows(rows, shares.tolist())
    torch.testing.assert_close(ours.positions, rows.positions)
    torch.testing.assert_close(ours.velocities, rows.velocities)
