"""The benchmark of the memory, run for real in fresh processes on a small swarm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "memory.py"
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which only Linux has")


@pytest.mark.slow
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


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("kind", ["generation", "likelihood"])
def test_the_estimate_of_a_pass_is_within_one_and_a_half_of_what_it_takes(kind: str) -> None:
    one_pass = ["--measure", "pass", "--pass", kind, "float32", "49152", "2", "32", "64"]
    ended = subprocess.run([sys.executable, str(PROGRAM), *one_pass], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    numbers = json.loads(ended.stdout.splitlines()[-1])
    assert 1 / 1.5 < numbers["estimate"] / numbers["taken"] < 1.5


def test_the_world_of_two_layers_is_what_a_search_takes(tmp_path: Path) -> None:
    from random_world import SIZES
    from real_memory import write_world
    from swarm_lightning.experts.pool import load_pool
    from swarm_lightning.experts.resident.base_model import load_base

    flags = write_world(tmp_path, SIZES["tiny"], particles=2, prompts=3, tokens=9)
    assert load_pool(str(tmp_path / "experts")).vectors.shape[0] == 4
    model, tokenizer = load_base(str(tmp_path / "base"))
    assert str(model.dtype) == "torch.bfloat16"
    data = json.loads((tmp_path / "data.json").read_text())
    assert len(data["dev"]) == 3
    assert all(len(tokenizer(record["question"])["input_ids"]) == 9 for record in data["dev"] + data["test"])
    assert flags[:2] == ["--model.base", str(tmp_path / "base")]
