"""Whole searches by the evolution strategy from the command line: their files, their budget, kills, ranks, and uses."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from swarm_lightning.report.analyses import composition
from swarm_lightning.report.notebook import read_run
from swarm_lightning.swarm.evolution_strategy import CHOICES
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.killed import copy_before_changes, kill_before_change, some_of
from tests.search.test_kill_anywhere import assert_resumable
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import World, content, read_rows, run_swarm

EXPERTS, EXAMPLES, STEPS, BATCH = 4, 8, 4, 2
# The experts, then their mean, three rounds of the soup and three scaled sums, then all pairs, then the choice.
BEGINNING = (EXPERTS + 1 + EXPERTS - 1 + 3) * EXAMPLES
CHOICE = len(CHOICES) * EXAMPLES
PAIRS = 3
BUDGET = BEGINNING + PAIRS * 2 * BATCH * STEPS + CHOICE


def config_of(world: World, root: Path, **changes: Any) -> dict[str, Any]:
    strategy = {"evaluations": BUDGET, "steps": STEPS, "batch": BATCH, "step_length": 0.1}
    model = {
        "coefficients": "module",
        "optimizer": {"class_path": "swarm_lightning.swarm.EvolutionStrategy", "init_args": strategy},
        "engine": {"rows": 10, "lots": 4},
    }
    trainer = {"max_steps": 50}
    return world.config(root, **{"model": model, "trainer": trainer, **changes})


def write_config(world: World, root: Path) -> str:
    path = root.parent / f"{root.name}.yaml"
    path.write_text(yaml.safe_dump(config_of(world, root)))
    return str(path)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of a search that nobody disturbs, and what it printed."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    printed = run_swarm(config_of(world, root), "fit", root.parent)
    return root / "version_0", printed


def test_what_the_found_expert_is_made_of_is_kept_at_every_step(whole: tuple[Path, str]) -> None:
    run = read_run(whole[0])
    assert run.coefficients is not None
    assert run.coefficients.shape[0] == len(run.experts) == EXPERTS
    search = torch.load(whole[0] / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]["state"][0]
    assert run.coefficients.flatten().float().equal(search["chosen"].flatten().float())
    shares, outside = composition(run)
    assert outside == 0.0
    assert shares.coefficient.tolist() == pytest.approx(run.coefficients.mean(dim=1).tolist())


def test_a_fit_spends_its_budget_and_says_what_it_began_with_and_chose_among(whole: tuple[Path, str]) -> None:
    folder, printed = whole
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["evaluations"] == BUDGET
    assert summary["iterations"] == STEPS
    assert f"{STEPS} iterations (all done)" in printed
    assert len(summary["starts"]) == 6
    assert next(iter(summary["starts"].values())) == max(summary["starts"].values())
    assert set(summary["choices"]) == set(CHOICES)
    found = summary["validation"][1]
    assert found["utility"] == summary["choices"][found["detail"]] == max(summary["choices"].values())
    rows = read_rows(folder / "history.csv")
    assert [int(row["iteration"]) for row in rows] == list(range(STEPS + 1))
    assert [float(row["evaluations"]) for row in rows[1:]] == [PAIRS * 2 * BATCH] * STEPS
    assert [float(row["step_length"]) for row in rows] == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.0])
    assert len(read_rows(next((folder / "logs").rglob("metrics.csv")))) == STEPS + 2  # the last is the result


def test_the_first_positions_are_the_experts_however_many_particles_a_swarm_would_have(
    world: World, whole: tuple[Path, str], tmp_path: Path
) -> None:
    config = config_of(world, tmp_path / "runs")
    config["model"]["particles"] = 2  # fewer than there are experts
    run_swarm(config, "fit", tmp_path)
    found, other = (content(folder / "best_expert") for folder in (tmp_path / "runs" / "version_0", whole[0]))
    assert found["adapter_model.safetensors"] == other["adapter_model.safetensors"]


def test_an_exported_adapter_scores_with_plain_peft_what_the_search_says(world: World, whole: tuple[Path, str]) -> None:
    replies = world.replies(world.load(whole[0] / "best_expert"), "dev")
    scores = world.score(replies, "dev")
    found = json.loads((whole[0] / "summary.json").read_text())["validation"][1]
    assert sum(scores) / len(scores) == found["utility"]


@pytest.mark.slow
def test_all_commands_take_the_run(world: World, whole: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = whole
    config, last = config_of(world, tmp_path / "elsewhere"), ("--ckpt_path", str(folder))
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("What is 1 plus 1?\n")
    assert folder.name in run_swarm(config, "predict", tmp_path, *last, "--data.prompts", str(prompts))
    run_swarm(config, "validate", tmp_path, *last)
    run_swarm(config, "test", tmp_path, *last)
    run_swarm(config, "export", tmp_path, *last, "--output", str(tmp_path / "exported"))
    summary = json.loads((folder / "summary.json").read_text())
    validated, tested = read_rows(folder / "validation.csv"), read_rows(folder / "test.csv")
    assert [float(row["validation_utility"]) for row in validated] == [row["utility"] for row in summary["validation"]]
    assert [float(row["test_utility"]) for row in tested] == [row["utility"] for row in summary["test"]]
    weights = "adapter_model.safetensors"
    assert content(tmp_path / "exported")[weights] == content(folder / "best_expert")[weights]
    with pytest.raises(SystemExit, match="2"):
        run_swarm(config, "export", tmp_path, *last, "--particle", "1")


def test_what_makes_no_sense_says_so(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_swarm(config_of(world, tmp_path / "runs", restart={"patience": 3}), "fit", tmp_path)
    said = caplog.text
    assert "restart.patience 3 does nothing: EvolutionStrategy moves no particles to restart." in said
    assert "stop.patience 10 does nothing: EvolutionStrategy has no global best" in said


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"coefficients": None}, "Expected model.coefficients to be set with EvolutionStrategy"),
        ({"start": {"kind": "experts_and_base"}}, "Expected model.start.kind to be experts with EvolutionStrategy"),
    ],
)
def test_what_it_can_t_move_or_begin_with_is_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: dict[str, Any], said: str
) -> None:
    config = config_of(world, tmp_path / "runs")
    config["model"] |= model
    with pytest.raises(SystemExit, match="2"):
        run_swarm(config, "fit", tmp_path)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_settings_of_a_swarm_are_not_taken_for_those_of_the_strategy(world: World, tmp_path: Path) -> None:
    swarm = {"class_path": "swarm_lightning.swarm.ParticleSwarm", "init_args": {"lr": 0.75}}
    model = {"coefficients": "module", "optimizer": swarm}
    changed = ["--model.optimizer", "swarm_lightning.swarm.EvolutionStrategy"]
    changed += ["--model.optimizer.steps", "2", "--model.optimizer.evaluations", str(BUDGET)]
    run_swarm(world.config(tmp_path / "runs", model=model), "fit", tmp_path, *changed)
    saved = yaml.safe_load((tmp_path / "runs" / "version_0" / "config.yaml").read_text())
    assert saved["model"]["optimizer"]["init_args"]["step_length"] == 0.02
    assert "lr" not in saved["model"]["optimizer"]["init_args"]


# Among the changes to the folder: before there is a checkpoint, and between the steps.
@pytest.mark.slow
@pytest.mark.parametrize("number", [9, 25])
def test_a_killed_search_goes_on_bit_for_bit(
    world: World, whole: tuple[Path, str], forked_ranks: ForkedRanks, tmp_path: Path, number: int
) -> None:
    root = tmp_path / "runs"
    arguments = ["fit", "--config", write_config(world, root)]
    ended = kill_before_change(forked_ranks, root, number, *arguments)
    assert ended.code == -signal.SIGKILL
    run_swarm(config_of(world, root), "fit", tmp_path, *assert_resumable(root))
    assert_same_run(max(root.glob("version_*")), whole[0])


def test_a_search_that_was_killed_behind_its_last_step_does_no_further_one(
    world: World, whole: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path / "runs" / "version_0")
    (tmp_path / "runs" / "version_0" / "summary.json").unlink()
    (tmp_path / "runs" / "version_0" / "best_expert").rename(tmp_path / "away")
    run_swarm(config_of(world, tmp_path / "runs"), "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(tmp_path / "runs" / "version_0", whole[0])
    summary = json.loads((tmp_path / "runs" / "version_0" / "summary.json").read_text())
    assert summary == json.loads((whole[0] / "summary.json").read_text())


@pytest.mark.slow
def test_whatever_a_kill_leaves_at_any_instant_goes_on_bit_for_bit(
    world: World, whole: tuple[Path, str], forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    root, copies = tmp_path / "runs", tmp_path / "copies"
    ended = copy_before_changes(forked_ranks, root, copies, "fit", "--config", write_config(world, root))
    assert ended.code == 0, ended.err
    for copy in some_of(sorted(copies.iterdir()), 6):
        run_swarm(config_of(world, copy), "fit", tmp_path, *assert_resumable(copy))
        assert_same_run(max(copy.glob("version_*")), whole[0])


@pytest.mark.slow
@pytest.mark.parametrize("count", [3])
def test_any_number_of_ranks_makes_the_run_of_one(
    world: World, whole: tuple[Path, str], forked_ranks: ForkedRanks, tmp_path: Path, count: int
) -> None:
    ended = forked_ranks.swarm(
        torchrun_environments(count), "fit", "--config", write_config(world, tmp_path / "runs")
    )  # fmt: skip
    assert [rank.code for rank in ended] == [0] * count, ended
    assert_same_run(tmp_path / "runs" / "version_0", whole[0])
