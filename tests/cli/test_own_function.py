"""A function in a file of the current folder guides a search through the real command, as the README shows it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.search.tiny_search import NEW_TOKENS, World, prompt_of, read_rows, run_swarm

FILE = """
def brevity(reply, example):
    return 1 / (1 + len(reply))

def length(reply, example):
    return len(reply)
"""


def config_of(world: World, root: Path, function: str, iterations: int = 1) -> dict[str, Any]:
    config = world.config(root, trainer={"max_steps": iterations})
    config["model"]["objective"] = {
        "class_path": "swarm_lightning.objectives.Custom",
        "init_args": {"function": function, "max_new_tokens": NEW_TOKENS},
    }
    return config


def test_a_function_in_the_current_folder_guides_a_search_and_belongs_to_its_checkpoint(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scores_of_my_own.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    config = config_of(world, tmp_path / "runs", "scores_of_my_own.brevity")
    run_swarm(config, "fit", tmp_path)
    folder = tmp_path / "runs" / "version_0"
    replies = world.replies(world.load(folder / "best_expert"), "dev")
    expected = sum(1 / (1 + len(reply)) for reply in replies) / len(replies)
    assert float(read_rows(folder / "history.csv")[-1]["global_best"]) == pytest.approx(expected)

    (tmp_path / "prompts.txt").write_text("Who?\n")  # without a gold answer
    run_swarm(config, "predict", tmp_path, "--ckpt_path", "last", "--data.prompts", str(tmp_path / "prompts.txt"))
    answer = json.loads((folder / "predictions.jsonl").read_text())
    assert answer["reply"] == world.reply(world.load(folder / "best_expert"), prompt_of("Who?"))

    other = config_of(world, tmp_path / "runs", "scores_of_my_own.length", iterations=2)
    with pytest.raises(SystemExit) as ended:
        run_swarm(other, "fit", tmp_path, "--ckpt_path", "last")
    named = "objective.function is 'scores_of_my_own.length', in the checkpoint 'scores_of_my_own.brevity'"
    assert named in str(ended.value.__cause__)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("scores_of_my_own.brevty", "Did you mean 'brevity'?"),
        ("scores_of_nobody.brevity", "a module 'scores_of_nobody'"),
        ("scores_of_my_own.length", "a number from 0 to 1 from scores_of_my_own.length"),
    ],
)
def test_a_function_that_cannot_be_used_ends_the_run_with_one_message(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    function: str,
    message: str,
) -> None:
    (tmp_path / "scores_of_my_own.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, tmp_path / "runs", function), "fit", tmp_path)
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert message in said
    assert "Traceback" not in said
