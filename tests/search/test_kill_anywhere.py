"""Searches that are killed by SIGKILL at chosen instants and go on: the run of one that nobody has disturbed."""

import hashlib
import json
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.search.killed import copy_before_changes, kill_before_change, questions_in, some_of
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import World, content, read_rows, run_swarm, write_dataset

ITERATIONS = 2
# Lots of 10 questions, so that there is something between the beginning and the end of an evaluation.
SETTINGS: dict[str, Any] = {
    "trainer": {"max_steps": ITERATIONS},
    "model": {"engine": {"rows": 10, "lots": 4, "chunk": 2}},
    "export_best": {"particles": [1]},
}


def config_of(world: World, root: Path, **changes: Any) -> dict[str, Any]:
    return world.config(root, **{**SETTINGS, **changes})


def write_config(world: World, root: Path, **changes: Any) -> str:
    path = root.parent / f"{root.name}.yaml"
    path.write_text(yaml.safe_dump(config_of(world, root, **changes)))
    return str(path)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a search that nobody disturbs."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    run_swarm(config_of(world, root), "fit", root.parent)
    assert len({row["personal_best_mean"] for row in read_rows(root / "version_0" / "history.csv")}) > 2
    return root / "version_0"


def assert_undisturbed(folder: Path, whole: Path) -> None:
    assert_same_run(folder, whole)
    assert content(folder).keys() == content(whole).keys()
    assert content(folder / "particle_1") == content(whole / "particle_1")
    logs = [read_rows(run / "logs" / "version_0" / "metrics.csv") for run in (folder, whole)]
    summaries = [json.loads((run / "summary.json").read_text()) for run in (folder, whole)]
    for row in [*logs[0], *logs[1], *summaries]:
        for name in [name for name in row if name == "seconds" or name.startswith("time/")]:
            del row[name]
    assert logs[0] == logs[1]
    assert len(logs[0]) == ITERATIONS + 2  # the last is the result
    assert summaries[0] == summaries[1]


def assert_resumable(root: Path) -> list[str]:
    """Check that what lies there is whole, and say how a user goes on."""
    begun = [path for path in root.glob("version_*") if (path / "config.yaml").exists()]
    for folder in begun:
        if (folder / "checkpoints" / "last.ckpt").exists():
            torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        yaml.safe_load((folder / "config.yaml").read_text())
        for name in ("best_expert", "particle_1"):
            expert = folder / name
            assert not expert.exists() or len(list(expert.iterdir())) == 3
    return ["--ckpt_path", "last"] if begun else []


@pytest.mark.slow
@pytest.mark.parametrize("life", ["first", "second"])
def test_whatever_a_kill_leaves_at_any_instant_goes_on_to_the_same_end(
    world: World, whole: Path, forked_ranks: ForkedRanks, tmp_path: Path, life: str
) -> None:
    root, copies = tmp_path / "runs", tmp_path / "copies"
    arguments = ["fit", "--config", write_config(world, root)]
    if life == "second":  # it begins behind a kill between the last iteration's record and its checkpoint
        # A checkpoint's file is opened, renamed and looked for: the third one's before it is opened.
        ended = kill_before_change(forked_ranks, root, 7, *arguments, part="last.ckpt")
        assert ended.code == -signal.SIGKILL
        assert len(read_rows(root / "version_0" / "history.csv")) == ITERATIONS + 1
        assert not (root / "version_0" / "summary.json").exists()
        arguments += assert_resumable(root)
    ended = copy_before_changes(forked_ranks, root, copies, *arguments)
    assert ended.code == 0, ended.err
    assert_undisturbed(root / "version_0", whole)
    states: dict[str, Path] = {}
    for copy in sorted(copies.iterdir()):
        held = [
            (str(path.relative_to(copy)), hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"")
            for path in sorted(copy.rglob("*"))
            if path.name != ".lock"
        ]
        names = [(name.split(".partial")[0][:-8] if name.endswith(".partial") else name, value) for name, value in held]
        states.setdefault(repr(names), copy)
    assert len(states) > (30 if life == "first" else 15)
    for copy in some_of(list(states.values()), 10):
        run_swarm(config_of(world, copy), "fit", tmp_path, *assert_resumable(copy))
        folder = max(copy.glob("version_*"))
        assert_undisturbed(folder, whole)
        shutil.rmtree(copy)


COUNTED = {"class_path": "tests.search.killed.Counted", "init_args": {"max_new_tokens": 6}}


@pytest.fixture(scope="module")
def asked(world: World, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> "Counter[str]":
    """What a search asks that nobody disturbs."""
    folder = tmp_path_factory.mktemp("asked")
    config = config_of(world, folder / "runs")
    config["model"]["objective"] = COUNTED
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASKED", str(folder / "asked"))
        run_swarm(config, "fit", folder)
    return questions_in(folder / "asked")


@pytest.mark.slow
# The calls of an iteration on one rank: 1 to 4 score the first positions, 5 is the first look, 6 begins iteration 1.
@pytest.mark.parametrize(
    ("at_call", "code", "ranks"),
    [
        ("3 SIGKILL 0", -9, 1),
        ("8 SIGKILL 0", -9, 1),
        ("12 SIGKILL 0", -9, 1),
        ("3 SIGTERM 0", 143, 1),
        ("8 SIGUSR1 0", 138, 1),
        ("8 SIGINT 0", 130, 1),
        ("3 SIGTERM 1", 143, 2),
    ],
)
def test_what_was_answered_before_a_signal_is_not_asked_again(
    world: World, asked: "Counter[str]", forked_ranks: ForkedRanks, tmp_path: Path, at_call: str, code: int, ranks: int
) -> None:
    config = config_of(world, tmp_path / "runs")
    config["model"]["objective"] = COUNTED
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = {"ASKED": str(tmp_path / "asked")}
    environments = [environment] if ranks == 1 else [{**rank, **environment} for rank in torchrun_environments(2)]
    ended = forked_ranks.swarm(
        [{**rank, "AT_CALL": at_call} for rank in environments], "fit", "--config", str(path)
    )  # fmt: skip
    assert [rank.code for rank in ended] == [code] * ranks, ended
    if code > 0:
        assert f"Resume with: swarm fit --resume {tmp_path / 'runs' / 'version_0'}" in ended[0].out
        assert not any("Traceback" in rank.err for rank in ended)
    before = questions_in(tmp_path / "asked")
    saved = len(read_rows(tmp_path / "runs" / "version_0" / "history.csv")) if int(at_call.split()[0]) > 4 else 0
    assert saved == {3: 0, 8: 1, 12: 2}[int(at_call.split()[0])]
    assert 0 < sum(before.values()) < sum(asked.values())
    (ended_again,) = forked_ranks.swarm([environment], "fit", "--config", str(path), "--ckpt_path", "last")
    assert ended_again.code == 0, ended_again.err
    assert questions_in(tmp_path / "asked") == asked
    rows = read_rows(tmp_path / "runs" / "version_0" / "history.csv")
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]


@pytest.mark.slow
def test_a_long_first_evaluation_that_is_killed_keeps_its_scores_with_default_lots(
    world: World, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    dataset = write_dataset(tmp_path / "long.json", validation=120, test=2)
    config = World(world.base, world.experts, dataset).config(tmp_path / "runs", trainer={"max_steps": 1})
    config["model"] |= {"objective": COUNTED, "engine": {"rows": 8}}
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = {"ASKED": str(tmp_path / "asked")}
    (ended,) = forked_ranks.swarm([{**environment, "AT_CALL": "3 SIGKILL 0"}], "fit", "--config", str(path))
    assert ended.code == -signal.SIGKILL
    before = sum(questions_in(tmp_path / "asked").values())
    assert before == 2 * 60  # 600 pairs in ten lots; four would have left 300 here, and none before the first was over
    assert not (tmp_path / "runs" / "version_0" / "checkpoints" / "last.ckpt").exists()
    again = ["--ckpt_path", "last", "--trainer.enable_progress_bar", "true", "--progress.every_seconds", "0.000001"]
    (ended,) = forked_ranks.swarm([environment], "fit", "--config", str(path), *again)
    assert ended.code == 0, ended.err
    assert "first positions: 120 of 600 examples (120 of them from before)" in ended.out
    first = read_rows(tmp_path / "runs" / "version_0" / "history.csv")[0]
    assert first["evaluations"] == "600.0"


@pytest.mark.slow
def test_between_rare_checkpoints_no_score_is_lost_either(
    world: World, asked: "Counter[str]", forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    config = config_of(world, tmp_path / "runs", checkpoint={"every_n_iterations": 5})
    config["model"]["objective"] = COUNTED
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = {"ASKED": str(tmp_path / "asked")}
    killed = {**environment, "AT_CALL": "12 SIGKILL 0"}  # in iteration 2; the checkpoint holds the first positions
    (ended,) = forked_ranks.swarm([killed], "fit", "--config", str(path))
    assert ended.code == -signal.SIGKILL
    checkpoint = torch.load(tmp_path / "runs" / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert int(checkpoint["optimizer_states"][0]["state"][0]["iterations"]) == 0
    (ended,) = forked_ranks.swarm([environment], "fit", "--config", str(path), "--ckpt_path", "last")
    assert ended.code == 0, ended.err
    assert questions_in(tmp_path / "asked") == asked


@pytest.mark.slow
def test_a_search_that_is_killed_again_and_again_goes_on_to_the_same_end(
    world: World, whole: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    config = write_config(world, root)
    for number in (17, 12, 21):
        ended = kill_before_change(forked_ranks, root, number, "fit", "--config", config, *assert_resumable(root))
        assert ended.code == -signal.SIGKILL
    run_swarm(config_of(world, root), "fit", tmp_path, "--ckpt_path", "last")
    assert_undisturbed(root / "version_0", whole)
    assert [path.name for path in root.iterdir()] == ["version_0"]
