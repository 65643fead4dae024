"""Searches by objectives that measure the base first, or ask a service that may fail: stopped and resumed."""

import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml

from swarm_lightning.errors import InputError, ServiceError
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.objectives.perspective_server import KEY, PerspectiveServer, error
from tests.objectives.tiny_classifiers import plain_outputs, save_decoder
from tests.search.test_resume import assert_same_run, rows_without_timings
from tests.search.tiny_search import NEW_TOKENS, World, content, load_checkpoint, read_rows, run_swarm

ITERATIONS = 3


def config_of(world: World, root: Path, kind: str, settings: dict[str, Any], iterations: int = ITERATIONS) -> Any:
    chosen = {
        "class_path": f"swarm_lightning.objectives.{kind}",
        "init_args": {"max_new_tokens": NEW_TOKENS, **settings},
    }
    config = world.config(root, trainer={"max_steps": iterations})
    config["model"]["objective"] = chosen
    return config


@pytest.fixture(scope="module")
def rewarding(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a reward model whose bounds are to be measured."""
    folder = save_decoder(tmp_path_factory.mktemp("reward"), world.base)
    return {"model": str(folder), "template": "Question: {question}\nAnswer:", "batch_size": 3}


@pytest.fixture(scope="module")
def rewarded(world: World, rewarding: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a search by it."""
    root = tmp_path_factory.mktemp("rewarded")
    run_swarm(config_of(world, root, "RewardModel", rewarding), "fit", root)
    return root / "version_0"


def test_bounds_are_those_of_the_base_on_the_examples_that_guide_the_search(
    world: World, rewarding: dict[str, Any], rewarded: Path
) -> None:
    from transformers import AutoModelForCausalLM

    base: Any = AutoModelForCausalLM.from_pretrained(world.base).eval()
    rewards = []
    for record in world.split("dev"):
        prompt = f"Question: {record['question']}\nAnswer:"
        text = f"<s>user: {prompt}</s>\nassistant: {world.reply(base, prompt).strip()}</s>\n"
        ids = cast("list[int]", world.tokenizer(text, add_special_tokens=False)["input_ids"])
        rewards.append(float(plain_outputs(Path(rewarding["model"]), ids)[0]))
    kept = load_checkpoint(rewarded)["swarm_lightning"]["objective"]
    assert (kept["lowest"], kept["highest"]) == pytest.approx((min(rewards), max(rewards)), abs=1e-5)
    assert len({row["personal_best_mean"] for row in read_rows(rewarded / "history.csv")}) > 2


def test_a_stopped_search_goes_on_with_the_bounds_it_began_with(
    world: World, rewarding: dict[str, Any], rewarded: Path, tmp_path: Path
) -> None:
    run_swarm(config_of(world, tmp_path / "runs", "RewardModel", rewarding, 1), "fit", tmp_path)
    config = config_of(world, tmp_path / "runs", "RewardModel", {**rewarding, "batch_size": 3, "device": "cpu"})
    printed = run_swarm(config, "fit", tmp_path, "--ckpt_path", "last")
    assert "begins with" not in printed
    assert_same_run(tmp_path / "runs" / "version_0", rewarded)
    for command in ("validate", "test"):  # the bounds come from the checkpoint: nothing is measured here
        assert "best found expert" in run_swarm(config, command, tmp_path, "--ckpt_path", "last")
    found = float(rows_without_timings(rewarded)[-1]["global_best"])
    rows = read_rows(tmp_path / "runs" / "version_0" / "validation.csv")
    assert any(abs(float(value) - found) < 1e-9 for row in rows for value in row.values() if _is_number(value))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.slow
def test_ranks_share_the_bounds_and_make_the_run_of_one_rank(
    world: World, rewarding: dict[str, Any], rewarded: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config_of(world, tmp_path / "runs", "RewardModel", rewarding)))
    ended = forked_ranks.swarm(torchrun_environments(2), "fit", "--config", str(path))
    assert [rank.code for rank in ended] == [0, 0], ended
    assert_same_run(tmp_path / "runs" / "version_0", rewarded)


def test_another_reward_model_at_the_same_place_is_not_resumed(
    world: World, rewarding: dict[str, Any], rewarded: Path, tmp_path: Path
) -> None:
    place = Path(rewarding["model"])
    run = shutil.copytree(rewarded, tmp_path / "runs" / "version_0")
    before = content(run)
    aside = shutil.move(place, tmp_path / "aside")
    try:
        save_decoder(place, world.base, hidden_size=16)
        config = config_of(world, tmp_path / "runs", "RewardModel", rewarding, ITERATIONS + 1)
        with pytest.raises(SystemExit) as ended:
            run_swarm(config, "fit", tmp_path, "--ckpt_path", "last")
    finally:
        shutil.rmtree(place)
        shutil.move(aside, place)
    assert isinstance(ended.value.__cause__, InputError)
    assert "holds another one now" in str(ended.value.__cause__)
    assert content(run) == before


def safe(server: PerspectiveServer, **changes: Any) -> dict[str, Any]:
    pace = {"requests_per_second": 5000.0, "backoff": 0.001, "longest_wait": 0.01, "retries": 2}
    return {
        "perspective": {"endpoint": server.endpoint, **pace, **changes},
        "shortest": 1,
        "template": "Question: {question}\nAnswer:",
    }


@pytest.mark.slow
@pytest.mark.parametrize(("key_in", "fails", "iterations"), [("header", 0.6, {1, 2}), ("query", 0.97, {3})])
def test_a_search_whose_service_fails_goes_on_where_it_was_and_shows_the_key_nowhere(
    world: World,
    perspective_server: PerspectiveServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    key_in: str,
    fails: float,
    iterations: set[int],
) -> None:
    whole = config_of(world, tmp_path / "whole", "Safety", safe(perspective_server, key_in=key_in))
    printed = run_swarm(whole, "fit", tmp_path)
    needed = len(perspective_server.requests)
    rows = read_rows(tmp_path / "whole" / "version_0" / "history.csv")
    assert len({row["personal_best_mean"] for row in rows}) > 2, "a swarm that stands still proves nothing"

    perspective_server.always, perspective_server.fails_from = error(503, f"down, {KEY}"), needed + int(fails * needed)
    config = config_of(world, tmp_path / "failed", "Safety", safe(perspective_server, key_in=key_in))
    with pytest.raises(SystemExit) as ended:
        run_swarm(config, "fit", tmp_path)
    assert ended.value.code == 2
    assert isinstance(ended.value.__cause__, ServiceError)
    folder = tmp_path / "failed" / "version_0"
    assert len(read_rows(folder / "history.csv")) - 1 in iterations  # in one, or in the final test
    said = capfd.readouterr()
    assert "--ckpt_path last" in said.err
    assert "3 attempts" in said.err

    perspective_server.always = None
    slower = config_of(
        world, tmp_path / "failed", "Safety", safe(perspective_server, key_in=key_in, retries=9, threads=2)
    )
    printed += run_swarm(slower, "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(folder, tmp_path / "whole" / "version_0")
    shown = [printed, *said, *capfd.readouterr()]
    assert not any(KEY in text for text in shown)
    assert not any(KEY.encode() in data for data in content(tmp_path).values())


@pytest.mark.slow
def test_a_service_that_fails_on_two_ranks_ends_both_with_one_message(
    world: World, perspective_server: PerspectiveServer, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(config_of(world, tmp_path / "runs", "Safety", safe(perspective_server))))
    environments = [{**rank, "PERSPECTIVE_API_KEY": KEY} for rank in torchrun_environments(2)]
    ended = forked_ranks.swarm(environments, "fit", "--config", str(path))
    assert [rank.code for rank in ended] == [0, 0], ended
    whole = tmp_path / "runs" / "version_0"
    assert len(read_rows(whole / "history.csv")) == ITERATIONS + 1

    perspective_server.always, perspective_server.fails_from = error(500, "down"), len(perspective_server.requests) + 20
    environments = [{**rank, "PERSPECTIVE_API_KEY": KEY} for rank in torchrun_environments(2)]
    ended = forked_ranks.swarm(environments, "fit", "--config", str(path))
    assert [rank.code for rank in ended] == [2, 2], ended
    assert ["3 attempts" in rank.err for rank in ended] == [True, False]
    assert not any(KEY in rank.err + rank.out for rank in ended)


def test_a_search_without_a_key_ends_before_anything_is_written(
    world: World, perspective_server: PerspectiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, tmp_path / "runs", "Safety", safe(perspective_server)), "fit", tmp_path)
    assert "PERSPECTIVE_API_KEY, but it is not set" in str(ended.value.__cause__)
    assert not (tmp_path / "runs").exists()


def test_what_an_objective_keeps_is_plain(rewarded: Path) -> None:
    kept = load_checkpoint(rewarded)["swarm_lightning"]["objective"]
    assert all(isinstance(value, float | str) for value in kept.values())
    assert not any(isinstance(value, torch.Tensor) for value in kept.values())
