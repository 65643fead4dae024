"""Whole searches by CMA-ES from the command line: their budget, what they return, kills, and ranks."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_lightning.swarm.centre_search import CHOSEN_AMONG
from swarm_lightning.swarm.cma_es import CmaEs
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.killed import kill_before_change
from tests.search.test_kill_anywhere import assert_resumable
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import World, read_rows, run_swarm

EXPERTS, EXAMPLES, GENERATIONS, POPULATION = 4, 8, 4, 3
# The experts, their mean, three rounds of the soup and three scaled sums; the generations; the choice in the end.
BUDGET = (EXPERTS + 1 + EXPERTS - 1 + 3 + GENERATIONS * POPULATION + CHOSEN_AMONG) * EXAMPLES


def config_of(world: World, root: Path) -> dict[str, Any]:
    # What is left of a generation is not spent.
    strategy = {"evaluations": BUDGET + POPULATION * EXAMPLES - 1, "population": POPULATION}
    model = {
        "coefficients": "expert",
        "optimizer": {"class_path": "swarm_lightning.swarm.CmaEs", "init_args": strategy},
        "engine": {"rows": 10, "lots": 4},
    }
    return world.config(root, model=model, trainer={"max_steps": 50})


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of a search that nobody disturbs, and what it printed."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    printed = run_swarm(config_of(world, root), "fit", root.parent)
    return root / "version_0", printed


def test_a_fit_spends_its_budget_on_whole_generations_and_returns_the_best_of_few(whole: tuple[Path, str]) -> None:
    folder, printed = whole
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["evaluations"] == BUDGET
    assert summary["iterations"] == GENERATIONS
    assert f"{GENERATIONS} iterations (all done)" in printed
    assert list(summary["choices"]) == list(CmaEs.choices)
    found = summary["validation"][1]
    assert found["utility"] == summary["choices"][found["detail"]] == max(summary["choices"].values())
    rows = read_rows(folder / "history.csv")
    assert [float(row["evaluations"]) for row in rows[1:]] == [POPULATION * EXAMPLES] * GENERATIONS


def test_an_exported_adapter_scores_with_plain_peft_what_the_search_says(world: World, whole: tuple[Path, str]) -> None:
    scores = world.score(world.replies(world.load(whole[0] / "best_expert"), "dev"), "dev")
    found = json.loads((whole[0] / "summary.json").read_text())["validation"][1]
    assert sum(scores) / len(scores) == found["utility"]


def test_a_search_goes_on_from_between_its_generations_bit_for_bit(
    world: World, whole: tuple[Path, str], tmp_path: Path
) -> None:
    config = config_of(world, tmp_path / "runs")
    run_swarm(config, "fit", tmp_path, "--trainer.max_steps", "2")
    run_swarm(config, "fit", tmp_path, "--ckpt_path", "last")
    summary, other = (
        json.loads((folder / "summary.json").read_text()) for folder in (tmp_path / "runs" / "version_0", whole[0])
    )
    assert summary["choices"] == other["choices"]
    # What was chosen among when it had ended for the first time was asked as well.
    assert summary["evaluations"] == other["evaluations"] + CHOSEN_AMONG * EXAMPLES


def test_it_needs_coefficients(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(world, tmp_path / "runs")
    config["model"]["coefficients"] = None
    with pytest.raises(SystemExit, match="2"):
        run_swarm(config, "fit", tmp_path)
    assert "Expected model.coefficients to be set with CmaEs" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [9, 25])
def test_a_killed_search_goes_on_bit_for_bit(
    world: World, whole: tuple[Path, str], forked_ranks: ForkedRanks, tmp_path: Path, number: int
) -> None:
    root = tmp_path / "runs"
    config = root.parent / "cma.yaml"
    config.write_text(yaml.safe_dump(config_of(world, root)))
    ended = kill_before_change(forked_ranks, root, number, "fit", "--config", str(config))
    assert ended.code == -signal.SIGKILL
    run_swarm(config_of(world, root), "fit", tmp_path, *assert_resumable(root))
    assert_same_run(max(root.glob("version_*")), whole[0])


@pytest.mark.slow
def test_two_ranks_make_the_run_of_one(
    world: World, whole: tuple[Path, str], forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    config = tmp_path / "cma.yaml"
    config.write_text(yaml.safe_dump(config_of(world, tmp_path / "runs")))
    ended = forked_ranks.swarm(torchrun_environments(2), "fit", "--config", str(config))
    assert [rank.code for rank in ended] == [0, 0], ended
    assert_same_run(tmp_path / "runs" / "version_0", whole[0])
