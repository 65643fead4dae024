"""What is tried again and what ends at once, against a real server that fails on order."""

import re
import subprocess
import sys
import threading
from typing import Any

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.judge_client import JudgeClient, Unanswered
from swarm_lightning.objectives.rating_cache import Stopped
from tests.objectives.judge_server import KEY, KEY_VARIABLE, MODEL, Answer, Behaviour, JudgeServer

QUESTION = [{"role": "user", "content": "How good is it?"}]


def client(server: JudgeServer, **changes: Any) -> JudgeClient:
    settings: dict[str, Any] = {
        "endpoint": server.endpoint, "judge": MODEL, "key_variable": KEY_VARIABLE, "request": {"temperature": 0},
        "timeout": 10.0, "retries": 2, "retry_wait": 0.001,
    }  # fmt: skip
    return JudgeClient(**(settings | changes))


def ask(judge: JudgeClient) -> str:
    return judge.ask(QUESTION, threading.Event())


def failing(first: Answer, times: int = 1) -> Behaviour:
    return lambda question, asked: first if asked <= times else Answer("[[7]]")


def test_a_question_carries_the_model_the_turns_and_the_fields_of_the_request(judge_server: JudgeServer) -> None:
    request = {"temperature": 0, "chat_template_kwargs": {"enable_thinking": False}}
    ask(client(judge_server, request=request))
    assert judge_server.bodies == [{"model": MODEL, "messages": QUESTION, **request}]


@pytest.mark.parametrize(
    "failure",
    [
        Answer("slow down", 429, {"Retry-After": "0.002"}),
        Answer("slow down", 429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Answer("oh no", 500),
        Answer("starting", 503),
        Answer("", 500, raw=True),
        Answer("{not json", raw=True),
        Answer("<html>welcome</html>", headers={"Content-Type": "text/html"}, raw=True),
        Answer("{}", raw=True),
        Answer('{"choices": []}', raw=True),
        Answer("[]", raw=True),
        Answer("null", raw=True),
        Answer('{"choices": [{"message": {"content": 7}}]}', raw=True),
    ],
)
def test_what_may_pass_is_tried_again_and_the_answer_counts(judge_server: JudgeServer, failure: Answer) -> None:
    judge_server.behave = failing(failure, times=2)
    assert ask(client(judge_server)) == "[[7]]"
    assert judge_server.requests == 3


@pytest.mark.parametrize("failure", [Answer("oh no", 500), Answer("slow down", 429), Answer("[]", raw=True)])
def test_what_does_not_pass_ends_with_the_last_reason_after_all_attempts(
    judge_server: JudgeServer, failure: Answer
) -> None:
    judge_server.behave = lambda question, times: failure
    with pytest.raises(Unanswered, match=re.escape(failure.text)):
        ask(client(judge_server))
    assert judge_server.requests == 3


def test_a_slow_answer_is_given_up_and_asked_for_again(judge_server: JudgeServer) -> None:
    late = threading.Event()

    def behave(question: str, times: int) -> Answer:
        if times == 1:
            late.wait(10)
        return Answer("[[7]]")

    judge_server.behave = behave
    assert ask(client(judge_server, timeout=0.2)) == "[[7]]"
    late.set()
    assert judge_server.requests == 2


def test_an_endpoint_that_is_not_there_is_unanswered(judge_server: JudgeServer) -> None:
    judge_server.close()
    with pytest.raises(Unanswered, match="refused"):
        ask(client(judge_server))


@pytest.mark.parametrize(
    ("changes", "answer", "said"),
    [
        ({"key_variable": None}, None, ["401", "a request without a key", "key_variable"]),
        ({"judge": "nobody"}, None, ["404", "'nobody'", "Correct judge"]),
        ({"endpoint": "/elsewhere"}, None, ["404", "endpoint", "/v1"]),
        ({}, Answer("may not", 403), ["403", f"the key in {KEY_VARIABLE}"]),
        ({}, Answer("no temperature here", 400), ["400", "no temperature here", "request"]),
        ({}, Answer("You have no credit", 429, code="insufficient_quota"), ["429", "no credit"]),
    ],
)
def test_what_does_not_pass_by_waiting_ends_at_once_with_what_to_do(
    judge_server: JudgeServer, changes: dict[str, Any], answer: Answer | None, said: list[str]
) -> None:
    if answer is not None:
        judge_server.behave = lambda question, times: answer
    if "endpoint" in changes:
        changes = {"endpoint": judge_server.endpoint.removesuffix("/v1") + changes["endpoint"]}
    with pytest.raises(InputError) as refused:
        ask(client(judge_server, **changes))
    assert all(part in str(refused.value) for part in said), str(refused.value)
    assert judge_server.requests <= 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer('{"choices": [{"message": {"content": null, "refusal": "no"}}]}', raw=True),
        Answer("filtered", 400, code="content_filter"),
    ],
)
def test_a_judge_that_declines_has_said_nothing(judge_server: JudgeServer, answer: Answer) -> None:
    judge_server.behave = lambda question, times: answer
    assert ask(client(judge_server)) == ""


def test_a_key_that_the_server_repeats_stays_secret(judge_server: JudgeServer) -> None:
    judge = client(judge_server)
    judge_server.behave = lambda question, times: Answer(f"your key is {KEY}")
    assert ask(judge) == "your key is ***"
    for status in (401, 404, 400, 500):
        judge_server.behave = lambda question, times, status=status: Answer(f"bad {KEY}", status)  # type: ignore[misc]
        with pytest.raises((InputError, Unanswered)) as failed:
            ask(judge)
        assert "***" in str(failed.value)
        assert KEY not in "".join(chain(failed.value))


def chain(error: BaseException | None) -> list[str]:
    return [] if error is None else [repr(error), *chain(error.__cause__), *chain(error.__context__)]


def test_who_waits_for_the_next_attempt_can_be_stopped(judge_server: JudgeServer) -> None:
    stop = threading.Event()

    def behave(question: str, times: int) -> Answer:
        stop.set()
        return Answer("oh no", 500)

    judge_server.behave = behave
    with pytest.raises(Stopped):
        client(judge_server, retry_wait=30.0).ask(QUESTION, stop)
    assert judge_server.requests == 1


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_is_not_set_is_asked_for_by_the_name_of_its_variable(
    judge_server: JudgeServer, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    if value is not None:
        monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(InputError, match=f"{KEY_VARIABLE}, but it is not set"):
        client(judge_server)


def test_a_library_that_is_not_installed_is_named_with_the_extra() -> None:
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from swarm_lightning.objectives.judge_client import JudgeClient\n"
        "JudgeClient('http://localhost/v1', 'judge', None, {}, 1.0, 0, 0.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError: Expected the package openai" in done.stderr
    assert "pip install 'swarm-lightning[judge]'" in done.stderr
