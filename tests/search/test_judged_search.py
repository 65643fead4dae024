"""A search that a judge guides, through the real command, with a real endpoint that goes down in the middle."""

import html
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_lightning.report.examples import examples, wins
from swarm_lightning.report.notebook import read_run
from swarm_lightning.report.score_figures import distribution
from tests.forked_ranks import ForkedRanks, torchrun_environments
from tests.objectives.judge_server import KEY, KEY_VARIABLE, MODEL, Answer, JudgeServer, rate, rating_of, running_judge
from tests.search.test_resume import assert_same_run
from tests.search.tiny_search import World, content, prompt_of, read_rows, run_swarm

TRIAL = "I do not know."


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeServer]:
    with running_judge() as server:
        yield server


@pytest.fixture(autouse=True)
def calm(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    server.behave = prefer_or_rate
    server.forget()


def prefer_or_rate(question: str, times: int) -> Answer:
    """Find the longer of two replies better, and rate a single one."""
    if question.startswith("Compare"):
        _, one, two = question.split("|")
        return Answer("[[A]]" if len(one) > len(two) else "[[B]]" if len(one) < len(two) else "[[C]]")
    return rate(question, times)


def judged(world: World, server: JudgeServer, root: Path, cache: Path, **changes: Any) -> dict[str, Any]:
    objective = {
        "class_path": "swarm_lightning.objectives.JudgeRating",
        "init_args": {
            "judge": MODEL, "endpoint": server.endpoint, "key_variable": KEY_VARIABLE, "cache": str(cache),
            "retries": 1, "retry_wait": 0.001, "rating_prompt": "Rate|{prompt}|{reply}",
            "comparison_prompt": "Compare|{reply_a}|{reply_b}", "template": prompt_of("{question}"), **changes,
        },
    }  # fmt: skip
    return world.config(root, model={"objective": objective}, trainer={"max_steps": 2})


@pytest.fixture(scope="module")
def whole(world: World, server: JudgeServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a search of two iterations that nothing has disturbed, with its cache beside it."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        run_swarm(judged(world, server, root, root.parent / "cache"), "fit", root.parent)
    rows = read_rows(root / "version_0" / "history.csv")
    assert len({row["personal_best_mean"] for row in rows}) == 3, "a swarm that stands still proves nothing"
    return root


def without_trials(asked: Counter[str]) -> Counter[str]:
    return Counter({question: times for question, times in asked.items() if not question.endswith(TRIAL)})


def test_an_endpoint_that_goes_down_ends_a_search_that_resumes_without_paying_twice(
    world: World, server: JudgeServer, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = judged(world, server, tmp_path / "runs", tmp_path / "cache")
    checkpoint = tmp_path / "runs" / "version_0" / "checkpoints" / "last.ckpt"
    paid: Counter[str] = Counter()
    saved: list[bytes] = []
    limit, counting = 0, threading.Lock()

    def go_down(question: str, times: int) -> Answer:
        nonlocal limit
        with counting:
            if checkpoint.is_file() and not saved:  # the first iteration is done
                saved.append(checkpoint.read_bytes())
                limit = sum(paid.values()) + 3
            if saved and sum(paid.values()) >= limit:
                return Answer("out of order", 503)
            paid[question] += 1
        return prefer_or_rate(question, times)

    server.behave = go_down
    with pytest.raises(SystemExit) as ended:
        run_swarm(config, "fit", tmp_path)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" not in told
    assert told.count("swarm: ") == 1
    for part in (server.endpoint, MODEL, "503 out of order", "--ckpt_path", str(tmp_path / "cache")):
        assert part in told
    assert [checkpoint.read_bytes()] == saved
    before = without_trials(paid)

    def back(question: str, times: int) -> Answer:
        with counting:
            paid[question] += 1
        return prefer_or_rate(question, times)

    server.behave = back
    run_swarm(config, "fit", tmp_path, "--ckpt_path", "last")
    assert_same_run(tmp_path / "runs" / "version_0", whole / "version_0")
    after = without_trials(paid)
    assert set(after.values()) == {1}
    assert len(after) > len(before) > 0
    assert KEY.encode() not in b"".join([*content(tmp_path).values(), told.encode()])


def test_a_second_search_with_the_same_cache_pays_nothing(
    world: World, server: JudgeServer, whole: Path, tmp_path: Path
) -> None:
    run_swarm(judged(world, server, tmp_path / "runs", whole.parent / "cache"), "fit", tmp_path)
    assert without_trials(server.asked) == Counter()
    assert_same_run(tmp_path / "runs" / "version_0", whole / "version_0")


def test_utilities_are_the_mean_ratings_of_what_plain_peft_says(world: World, whole: Path) -> None:
    replies = world.replies(world.load(whole / "version_0" / "best_expert"), "dev")
    questions = [record["question"] for record in world.split("dev")]
    ratings = [rating_of(f"Rate|{question}|{reply}") for question, reply in zip(questions, replies, strict=True)]
    best = float(read_rows(whole / "version_0" / "history.csv")[-1]["global_best"])
    assert best == pytest.approx(sum(ratings) / len(ratings), abs=1e-12)


def test_the_test_and_the_page_tell_how_often_replies_beat_those_of_the_best_initial_expert(
    world: World, server: JudgeServer, whole: Path
) -> None:
    printed = run_swarm(
        judged(world, server, whole, whole.parent / "cache"), "test", whole.parent, "--ckpt_path", "last"
    )
    rows = read_rows(whole / "version_0" / "test.csv")
    initial = world.replies(world.load(world.experts / rows[0]["detail"]), "test")
    found = world.replies(world.load(whole / "version_0" / "best_expert"), "test")
    points = [
        0.5 if len(one) == len(other) else float(len(one) > len(other))
        for one, other in zip(found, initial, strict=True)
    ]
    assert rows[0]["win_rate"] == ""
    assert float(rows[1]["win_rate"]) == sum(points) / len(points)
    assert "win rate" in printed
    assert f"{sum(points) / len(points):.4f}" in printed
    questions = [record["question"] for record in world.split("test")]
    better = [
        rating_of(f"Rate|{question}|{one}") - rating_of(f"Rate|{question}|{other}")
        for question, one, other in zip(questions, found, initial, strict=True)
    ]
    won, lost = sum(change > 0 for change in better), sum(change < 0 for change in better)
    run = read_run(whole / "version_0")
    told = wins(run)
    assert f"for {won} of {len(better)} examples, a lower one for {lost}, the same for" in told
    assert f"prefers it in {sum(points) / len(points):.1%}" in told
    pairs = examples(run, 100_000)
    assert (pairs.count('<tr class="emerged"'), pairs.count('<tr class="lost"')) == (won, lost)
    assert all(html.escape(reply) in pairs for reply in (*found, *initial))
    spread = distribution(run)
    assert spread is not None
    assert int(spread.data.examples.sum()) == 2 * len(better)


def test_predictions_ask_no_judge(world: World, server: JudgeServer, whole: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("What is 1 plus 1?\n")
    config = judged(world, server, whole, tmp_path / "cache", key_variable="NO_SUCH_KEY")
    run_swarm(config, "predict", tmp_path, "--ckpt_path", "last", "--data.prompts", str(prompts))
    assert server.requests == 0


@pytest.mark.slow
def test_ranks_share_what_one_of_them_has_paid_for(
    world: World, server: JudgeServer, whole: Path, forked_ranks: ForkedRanks, tmp_path: Path
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(judged(world, server, tmp_path / "runs", tmp_path / "cache")))
    environments = [{**environment, KEY_VARIABLE: KEY} for environment in torchrun_environments(2)]
    ended = forked_ranks.swarm(environments, "fit", "--config", str(path))
    assert [rank.code for rank in ended] == [0, 0], ended
    assert set(without_trials(server.asked).values()) == {1}
    assert_same_run(tmp_path / "runs" / "version_0", whole / "version_0")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"key_variable": "NO_SUCH_KEY"}, "NO_SUCH_KEY"), ({"judge": "nobody"}, "404"), ({"key_variable": None}, "401")],
)
def test_a_judge_that_can_not_be_asked_is_refused_before_the_search(
    world: World,
    server: JudgeServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_swarm(judged(world, server, tmp_path / "runs", tmp_path / "cache", **changes), "fit", tmp_path)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert server.requests <= 1
    assert not (tmp_path / "runs").exists()


def test_a_plan_asks_a_judge_a_few_replies_and_says_what_all_would_cost(
    world: World, server: JudgeServer, tmp_path: Path
) -> None:
    config = judged(world, server, tmp_path / "runs", tmp_path / "cache")
    prices = ("--price_in", "2", "--price_out", "10")
    printed = run_swarm(config, "plan", tmp_path, "--json", "--seconds", "0.5", *prices)
    plan = json.loads(printed.splitlines()[-1])
    asked = sum(count for question, count in server.asked.items() if TRIAL not in question)
    bill = plan["bill"]
    assert 1 <= asked <= 16
    assert bill["most_calls"] == plan["most_evaluations"] + plan["work"]["tests"]
    assert bill["calls"] <= bill["most_calls"]
    assert bill["answer"] == 512
    assert bill["price"] == pytest.approx(bill["calls"] * (2 * bill["tokens"] + 10 * 512) / 1e6)
