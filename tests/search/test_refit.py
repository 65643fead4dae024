"""Whole searches on the demo world whose experts are fitted anew: budget, files, kills, ranks, and what is exported."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from swarm_lightning.demo import WORLD
from swarm_lightning.experts.adapters import read_adapter
from swarm_lightning.experts.products.refit import ROUNDS
from swarm_lightning.report.run import Run
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.killed import copy_before_changes, kill_before_change, some_of
from tests.search.test_kill_anywhere import assert_resumable
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import content, read_rows, run_swarm

EXPERTS, EXAMPLES, TEST, STEPS, BATCH, PAIRS = 10, 40, 20, 2, 2, 3
# The experts by guide and by objective, their mean, nine rounds of the soup, a fit of each, three scaled sums.
BEGINNING = (2 * EXPERTS + 1 + EXPERTS - 1 + 2 * (ROUNDS + 1) + 3) * EXAMPLES
BUDGET = BEGINNING + PAIRS * 2 * BATCH * STEPS + 5 * EXAMPLES


def config_of(root: Path, **model: Any) -> dict[str, Any]:
    strategy = {"evaluations": BUDGET, "steps": STEPS, "batch": BATCH}
    return {
        "model": {
            "base": str(WORLD / "base"),
            "experts": str(WORLD / "experts"),
            "guide": "smooth",
            "coefficients": "module",
            "refit": True,
            "optimizer": {"class_path": "swarm_lightning.swarm.EvolutionStrategy", "init_args": strategy},
            **model,
        },
        "data": {
            "dataset": str(WORLD / "tasks" / "kinds.json"), "validation_size": EXAMPLES, "test_size": TEST,
        },
        "page": {"every_seconds": None},
        "trainer": {
            "max_steps": 50, "accelerator": "cpu", "default_root_dir": str(root), "enable_progress_bar": False,
        },
    }  # fmt: skip


def write_config(root: Path) -> str:
    path = root.parent / f"{root.name}.yaml"
    path.write_text(yaml.safe_dump(config_of(root)))
    return str(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a search that nobody disturbs."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    run_swarm(config_of(root), "fit", root.parent)
    return root / "version_0"


def summary_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def test_the_search_begins_with_the_sum_of_the_fitted_and_keeps_to_its_budget(whole: Path) -> None:
    summary = summary_of(whole)
    assert summary["evaluations"] == BUDGET
    assert summary["iterations"] == STEPS
    names = list(summary["starts"])
    assert names[0].endswith("(fitted anew)")
    assert summary["starts"][names[0]] == max(summary["starts"].values())
    assert sum(name.endswith("(fitted anew)") for name in names) == 2
    kept = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    search = kept["optimizer_states"][0]["state"][0]
    half = len(search["chosen"]) // 2
    assert search["beginning"].tolist() == [0.0] * half + [1.0] * half
    assert not search["centre.position"][:half].any(), "experts as they were trained are not moved"
    first, *_ = read_rows(whole / "history.csv")
    assert float(first["step_length"]) == 0.04, "twice as far as from a mean"
    assert len(kept["swarm_lightning"]["fitted"]) == 28, "the new A matrices of every layer"


def test_what_is_exported_is_the_sum_of_the_products_in_plain_numpy(whole: Path) -> None:
    kept = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    chosen = kept["optimizer_states"][0]["state"][0]["chosen"].double().view(2, EXPERTS, -1).numpy()
    fitted = kept["swarm_lightning"]["fitted"]
    experts = [read_adapter(str(WORLD / "experts" / name), name) for name in kept["swarm_lightning"]["experts"]]
    found = read_adapter(str(whole / "best_expert"), "found")
    downs = sorted(name for name in experts[0].tensors if "lora_A" in name)
    for place, name in enumerate(downs):
        expected = 0.0
        for number, expert in enumerate(experts):
            own = expert.tensors[name].double().numpy()
            up = expert.tensors[name.replace("lora_A", "lora_B")].double().numpy()
            scaling = expert.config["lora_alpha"] / expert.config["r"]
            new = fitted[place].double().numpy()[number * len(own) : (number + 1) * len(own)]
            mixed = chosen[0, number, place] * own + chosen[1, number, place] * new
            expected = expected + scaling * up @ mixed
        down, up = (
            found.tensors[name].double().numpy(),
            found.tensors[name.replace("lora_A", "lora_B")].double().numpy(),
        )
        assert np.abs(up @ down - expected).max() < 1e-6
        assert np.abs(expected).max() > 1e-3


def test_the_adapter_is_of_the_rank_of_those_that_have_a_part(whole: Path) -> None:
    rank = json.loads((WORLD / "experts" / "farmer" / "adapter_config.json").read_text())["r"]
    adapter = read_adapter(str(whole / "best_expert"), "found")
    downs = [tensor for name, tensor in adapter.tensors.items() if "lora_A" in name]
    begun = next(iter(summary_of(whole)["starts"]))
    assert begun == "greedy soup of fisher, hunter (fitted anew)" or begun.startswith("mean")
    members = 2 if begun.startswith("greedy") else EXPERTS
    assert {len(down) for down in downs} == {members * rank}, "who has no part costs no rank"
    card = (whole / "best_expert" / "README.md").read_text()
    assert "Their A matrices were fitted anew" in card
    assert "with an evolution strategy" in card
    assert "2410.11163" not in card, "no particles have moved"
    assert not any(f"| {setting}" in card for setting in ("particles", "child_span", "scheduler"))
    shares = [line for line in card.splitlines() if line.startswith("- ") and ", coefficient " in line]
    assert len(shares) == EXPERTS
    assert sum(not line.endswith("coefficient 0.0000") for line in shares) == members
    shown = Run(whole, "search").coefficients
    assert shown is not None
    assert shown.any(dim=1).sum() == members


def test_a_checkpoint_is_exported_and_tested_as_the_run_was(whole: Path, tmp_path: Path) -> None:
    config, last = config_of(tmp_path / "elsewhere"), ("--ckpt_path", str(whole))
    run_swarm(config, "export", tmp_path, *last, "--output", str(tmp_path / "exported"))
    weights = "adapter_model.safetensors"
    assert content(tmp_path / "exported")[weights] == content(whole / "best_expert")[weights]
    run_swarm(config, "test", tmp_path, *last)
    rows = read_rows(whole / "test.csv")
    assert [float(row["test_utility"]) for row in rows] == [row["utility"] for row in summary_of(whole)["test"]]


def test_a_run_that_is_resumed_behind_its_last_step_ends_as_it_did(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "runs" / "version_0")
    (tmp_path / "runs" / "version_0" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "runs" / "version_0" / "best_expert")
    run_swarm(config_of(tmp_path / "runs"), "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(tmp_path / "runs" / "version_0", whole)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"coefficients": None}, "Expected model.coefficients to be set and model.engine.backend to be torch"),
        (
            {"optimizer": {"class_path": "swarm_lightning.swarm.CmaEs"}},
            "Expected model.optimizer to be swarm_lightning.swarm.Evo",
        ),
        (
            {"optimizer": {"class_path": "swarm_lightning.swarm.ParticleSwarm"}},
            "but got ParticleSwarm. Set model.refit to false",
        ),
    ],
)
def test_what_does_not_go_together_with_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: dict[str, Any], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_swarm(config_of(tmp_path / "runs", **model), "fit", tmp_path)
    assert said in capsys.readouterr().err


def test_a_checkpoint_of_a_search_without_it_is_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_swarm(config_of(tmp_path / "runs", refit=False), "export", tmp_path, "--ckpt_path", str(whole))
    assert "refit" in capsys.readouterr().err


# Among the changes to the folder: while experts are asked and fitted, and between the steps.
@pytest.mark.slow
@pytest.mark.parametrize("number", [9, 30, 60])
def test_a_killed_search_goes_on_bit_for_bit(
    whole: Path, forked_ranks: ForkedRanks, tmp_path: Path, number: int
) -> None:
    root = tmp_path / "runs"
    ended = kill_before_change(forked_ranks, root, number, "fit", "--config", write_config(root))
    assert ended.code == -signal.SIGKILL
    run_swarm(config_of(root), "fit", tmp_path, *assert_resumable(root))
    assert_same_run(max(root.glob("version_*")), whole)


@pytest.mark.slow
def test_whatever_a_kill_leaves_at_any_instant_goes_on_bit_for_bit(
    whole: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    root, copies = tmp_path / "runs", tmp_path / "copies"
    ended = copy_before_changes(forked_ranks, root, copies, "fit", "--config", write_config(root))
    assert ended.code == 0, ended.err
    for copy in some_of(sorted(copies.iterdir()), 6):
        run_swarm(config_of(copy), "fit", tmp_path, *assert_resumable(copy))
        assert_same_run(max(copy.glob("version_*")), whole)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3])
def test_any_number_of_ranks_makes_the_run_of_one(
    whole: Path, forked_ranks: ForkedRanks, tmp_path: Path, count: int
) -> None:
    ended = forked_ranks.swarm(torchrun_environments(count), "fit", "--config", write_config(tmp_path / "runs"))
    assert [rank.code for rank in ended] == [0] * count, ended
    assert_same_run(tmp_path / "runs" / "version_0", whole)
