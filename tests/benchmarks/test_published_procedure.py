"""The procedure of the published code runs for real, processes and files, at a tiny size; no time is asserted."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import model_swarms_procedure as procedure
import published_procedure
from tests.benchmarks.last_line import last_line


@pytest.mark.slow
def test_an_iteration_through_files_replies_as_we_do(capsys: "pytest.CaptureFixture[str]") -> None:
    tiny = ["--particles", "2", "--examples", "12", "--new-tokens", "3", "--repeats", "1", "--threads", "1"]
    published_procedure.main(tiny)
    numbers = last_line(capsys)
    assert numbers["benchmark"] == "published_procedure"
    assert numbers["different_replies"] == 0
    assert set(numbers["seconds"]) == {"published", "ours", "stopping"}


def test_five_merges_move_a_particle_as_the_method_says(tmp_path: Path) -> None:
    # x = 1, p = 3, g = 5, w = -1, v = 2; weights 1, 2, 4, 1 of sum 8, step length 0.5.
    # v' = (1*2 + 2*(3-1) + 4*(5-1) + 1*(1+1)) / 8 = (2 + 4 + 16 + 2) / 8 = 3; x' = 1 + 0.5 * 3 = 2.5.
    config = tmp_path / procedure.CONFIG_FILE
    config.write_text("{}")
    particle = tmp_path / "particle_0"
    places = {particle / "now": 1.0, particle / "personal_best": 3.0, particle / "velocity": 2.0}
    places |= {tmp_path / "global_best": 5.0, tmp_path / "global_worst": -1.0}
    for folder, value in places.items():
        procedure.write_adapter(folder, {"a": torch.full((2, 3), value)}, config)
    procedure.move_particle(tmp_path, 0, procedure.Terms(1, 2, 4, 1, step_length=0.5))
    assert load_file(particle / "velocity" / procedure.WEIGHTS_FILE)["a"].tolist() == [[3.0] * 3] * 2
    assert load_file(particle / "now" / procedure.WEIGHTS_FILE)["a"].tolist() == [[2.5] * 3] * 2
