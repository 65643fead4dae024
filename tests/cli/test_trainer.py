"""`swarm export`: any particle of a run as an adapter folder."""

import json
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData

from swarm_lightning.errors import InputError
from tests.cli.conftest import Run
from tests.hub_server import HubServer
from tests.search.tiny_search import content

WEIGHTS = "adapter_model.safetensors"


def test_a_particles_personal_best_is_exported_as_the_search_exported_it(run: Run) -> None:
    (run.folder / "particle_2").rename(run.folder / "from_the_search")
    printed = run.swarm("export", "--ckpt_path", "last", "--particle", "2")
    assert f"Exported: {run.folder / 'particle_2'}" in printed
    exported, before = content(run.folder / "particle_2"), content(run.folder / "from_the_search")
    assert exported[WEIGHTS] == before[WEIGHTS]
    assert exported["adapter_config.json"] == before["adapter_config.json"]
    assert exported["README.md"] == before["README.md"]


def test_the_best_found_expert_is_the_default(run: Run) -> None:
    (run.folder / "best_expert").rename(run.folder / "from_the_search")
    run.swarm("export", "--ckpt_path", "last")
    assert content(run.folder / "best_expert")[WEIGHTS] == content(run.folder / "from_the_search")[WEIGHTS]


def test_what_the_search_has_exported_is_pushed_with_its_test_score_and_anything_else_is_exported_first(
    run: Run, hub: HubServer
) -> None:
    before = content(run.folder / "best_expert")
    hub.large_from = len(before[WEIGHTS])
    printed = run.swarm("export", "--ckpt_path", "last", "--push_to_hub", "tester/found")
    assert f"{run.folder / 'best_expert'} to {hub.address}/tester/found" in printed
    assert hub.repositories["tester/found"]["files"] == before
    assert "xet" in hub.transfers
    data = ModelCard(before["README.md"].decode()).data
    assert isinstance(data, ModelCardData)
    assert data.eval_results is not None
    (result,) = data.eval_results
    summary = json.loads((run.folder / "summary.json").read_text())
    assert result.metric_value == round(summary["test"][1]["utility"], 4)
    run.swarm("export", "--ckpt_path", "last", "--output", str(run.root / "new"), "--push_to_hub", "other")
    pushed = hub.repositories["tester/other"]
    assert pushed["private"] is True
    assert pushed["files"][WEIGHTS] == before[WEIGHTS]


def test_an_existing_folder_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    before = content(run.folder)
    for arguments in ([], ["--particle", "1"], ["--output", str(taken)]):
        with pytest.raises(SystemExit) as exit_:
            run.swarm("export", "--ckpt_path", "last", *arguments)
        assert exit_.value.code == 2
        assert isinstance(exit_.value.__cause__, InputError)
        assert "exists" in str(exit_.value.__cause__)
    assert content(run.folder) == before
    assert list(taken.iterdir()) == []


@pytest.mark.parametrize("particle", ["5", "-1"])
def test_a_particle_out_of_range_is_refused(run: Run, tmp_path: Path, particle: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        run.swarm("export", "--ckpt_path", "last", f"--particle={particle}", "--output", str(tmp_path / "new"))
    assert "from 0 to 4" in str(exit_.value.__cause__)
    assert not (tmp_path / "new").exists()


def test_checkpoints_are_loaded_as_tensors_and_plain_values_only(run: Run, tmp_path: Path) -> None:
    path = run.folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["trap"] = Path("anything that is neither")
    torch.save(checkpoint, path)
    for subcommand in ("fit", "validate", "export"):
        with pytest.raises(SystemExit) as exit_:
            run.swarm(subcommand, "--ckpt_path", "last")
        assert exit_.value.code == 2
        assert isinstance(exit_.value.__cause__, InputError)
        assert isinstance(exit_.value.__cause__.__cause__, UnpicklingError)


def test_a_card_tells_what_the_checkpoint_knows_and_not_the_config_of_the_moment(run: Run, tmp_path: Path) -> None:
    changes = [
        "--model.optimizer.inertia",
        "0.9",
        "--model.objective.max_new_tokens",
        "9",
        "--model.base",
        "another/base",
    ]
    output = tmp_path / "particle_2"
    run.swarm("export", "--ckpt_path", "last", "--particle", "2", "--output", str(output), *changes)
    assert content(output) == content(run.folder / "particle_2")
