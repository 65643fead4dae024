"""What the user can mend ends with exit code 2 and one message, before any work and without a run folder."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.refused import message_of
from tests.search.tiny_search import World, run_swarm


def test_coefficients_that_are_all_zero_are_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zeros = [f"--model.optimizer.{name}=0" for name in ("inertia", "cognitive", "social", "repel")]
    assert "above zero" in message_of(world.config(tmp_path / "runs"), tmp_path, capsys, *zeros)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused_without_a_traceback(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_swarm(world.config(tmp_path / "runs", trainer={"accelerator": "gpu"}), "fit", tmp_path)
    assert exit_.value.code == 2
    assert "gpu" in capsys.readouterr().err


def test_prompts_that_fill_the_model_are_refused_together_before_the_search(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.loads(world.dataset.read_text())
    for place, number in ((0, 1), (2, 4)):
        whole["test"][place] |= {"id": f"long-{number}", "question": "Which colour? " * 600}
    dataset = tmp_path / "long.json"
    dataset.write_text(json.dumps(whole))
    config = world.config(tmp_path / "runs", data={"dataset": str(dataset)})
    with pytest.raises(SystemExit) as exit_:
        run_swarm(config, "fit", tmp_path)
    assert exit_.value.code == 2
    told = capsys.readouterr().err
    assert f"2 of {len(whole['test'])} examples" in told
    assert "'long-1', 'long-4'" in told
    assert not (tmp_path / "runs").exists()
