"""The client against a real server on this machine that fails in every way the service and the network can."""

import json
import logging
import time
import traceback
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from swarm_lightning.errors import InputError, ServiceError
from swarm_lightning.objectives.perspective import MOST_BYTES, PerspectiveClient, RateLimit
from swarm_lightning.objectives.perspective_settings import PerspectiveSettings
from tests.objectives.perspective_server import KEY, Failure, PerspectiveServer, error, running_server, toxicity

FAST: dict[str, Any] = {
    "requests_per_second": 2000.0,
    "backoff": 0.001,
    "longest_wait": 0.01,
    "timeout": 5.0,
    "retries": 3,
}


def settings(server: PerspectiveServer, **changes: Any) -> PerspectiveSettings:
    return PerspectiveSettings(endpoint=server.endpoint, **{**FAST, **changes})


def failure_of(server: PerspectiveServer, texts: int = 1, **changes: Any) -> InputError:
    with pytest.raises(InputError) as refused:
        PerspectiveClient(settings(server, **changes)).toxicities([f"text {place}" for place in range(texts)])
    return refused.value


def test_every_text_gets_its_own_toxicity_whatever_thread_asked(perspective_server: PerspectiveServer) -> None:
    texts = [f"This is text number {place}." for place in range(40)]
    assert PerspectiveClient(settings(perspective_server)).toxicities(texts) == [toxicity(text) for text in texts]
    assert sorted(request.text for request in perspective_server.requests) == sorted(texts)
    assert PerspectiveClient(settings(perspective_server)).toxicities([]) == []


def test_a_request_is_what_the_protocol_says(perspective_server: PerspectiveServer) -> None:
    PerspectiveClient(settings(perspective_server)).toxicities(["Hello there."])
    PerspectiveClient(settings(perspective_server, language=None, key_in="query")).toxicities(["Hello there."])
    by_header, by_query = perspective_server.requests
    body = {"comment": {"text": "Hello there."}, "requestedAttributes": {"TOXICITY": {}}, "doNotStore": True}
    assert by_header.body == {**body, "languages": ["en"]}
    assert by_query.body == body
    assert (by_header.header_key, by_header.query) == (KEY, {})
    assert (by_query.header_key, by_query.query) == (None, {"key": [KEY]})


@pytest.mark.parametrize(
    "failure",
    [
        error(429, "Quota exceeded"),
        Failure(429, retry_after="0"),
        Failure(429, retry_after="soon"),
        Failure(408),
        Failure(500, "<html>oops"),
        Failure(503, "{}"),
        Failure(way="close"),
        Failure(body='{"attributeScores"', way="cut"),
        Failure(body="garbage"),
        Failure(body="[" * 100_000),
        Failure(body='{"attributeScores": {}}'),
        Failure(body='{"attributeScores": {"TOXICITY": {"summaryScore": {"value": null}}}}'),
        Failure(body='{"attributeScores": {"TOXICITY": {"summaryScore": {"value": NaN}}}}'),
        Failure(body='{"attributeScores": {"TOXICITY": {"summaryScore": {"value": 7}}}}'),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(perspective_server: PerspectiveServer, failure: Failure) -> None:
    perspective_server.failures.extend([failure, failure])
    assert PerspectiveClient(settings(perspective_server)).toxicities(["Some text."]) == [toxicity("Some text.")]
    assert len(perspective_server.requests) == 3


def test_an_answer_that_is_too_slow_is_asked_for_again(perspective_server: PerspectiveServer) -> None:
    perspective_server.failures.append(Failure(way="hang"))
    assert PerspectiveClient(settings(perspective_server, timeout=0.1)).toxicities(["Some text."]) == [
        toxicity("Some text.")
    ]
    assert len(perspective_server.requests) == 2


def test_a_slow_answer_in_time_counts(perspective_server: PerspectiveServer) -> None:
    text = "Some text."
    answer = {"attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.25}}}}
    perspective_server.failures.append(Failure(body=json.dumps(answer), way="hang"))
    assert PerspectiveClient(settings(perspective_server)).toxicities([text]) == [0.25]
    assert len(perspective_server.requests) == 1


def test_a_pause_that_the_service_asks_for_is_kept_by_all_threads(perspective_server: PerspectiveServer) -> None:
    perspective_server.failures.append(Failure(429, retry_after="1"))
    client = PerspectiveClient(settings(perspective_server, longest_wait=2.0, threads=1))
    client.toxicities(["first", "second"])
    first, *others = (request.at for request in perspective_server.requests)
    assert len(others) == 2
    assert min(others) >= first + 1


@pytest.mark.parametrize("failure", [Failure(429, retry_after="3600"), Failure(503, retry_after="3600")])
def test_a_longer_pause_than_the_longest_ends_the_run_at_once(
    perspective_server: PerspectiveServer, failure: Failure
) -> None:
    perspective_server.always = failure
    found = failure_of(perspective_server)
    assert isinstance(found, ServiceError)
    assert "asks for a pause of 3600 s" in str(found)
    assert len(perspective_server.requests) == 1


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (error(429, "Quota exceeded\nfor analyze"), "status 429, 'Quota exceeded for analyze'"),
        (Failure(500), "status 500"),
        (Failure(way="close"), "the connection failed (ProtocolError)"),
        (Failure(body="garbage"), "an answer without a toxicity"),
    ],
)
def test_after_all_retries_the_run_ends_with_what_happened_and_how_to_go_on(
    perspective_server: PerspectiveServer, failure: Failure, said: str
) -> None:
    perspective_server.always = failure
    found = failure_of(perspective_server)
    assert isinstance(found, ServiceError)
    for part in (perspective_server.endpoint, "4 attempts", said, "--ckpt_path last", "requests_per_second"):
        assert part in str(found)
    assert len(perspective_server.requests) == 4


def test_a_service_that_is_not_there_ends_the_run_with_what_happened(perspective_server: PerspectiveServer) -> None:
    with running_server() as gone:
        endpoint = gone.endpoint
    with pytest.raises(ServiceError, match=r"the connection failed \(NewConnectionError\)"):
        PerspectiveClient(replace(settings(perspective_server), endpoint=endpoint)).toxicities(["Some text."])


@pytest.mark.parametrize(
    "failure",
    [
        error(400, "API key not valid. Please pass a valid API key."),
        error(403, "Perspective Comment Analyzer API has not been used in project 1 before or it is disabled."),
        Failure(404, "<html>not found"),
        Failure(302),
    ],
    ids=str,
)
def test_what_cannot_pass_is_not_tried_again(perspective_server: PerspectiveServer, failure: Failure) -> None:
    perspective_server.always = failure
    found = failure_of(perspective_server)
    assert not isinstance(found, ServiceError)
    assert len(perspective_server.requests) == 1
    for part in (perspective_server.endpoint, f"status {failure.status}", "PERSPECTIVE_API_KEY", "key_in: query"):
        assert part in str(found)


@pytest.mark.parametrize(
    "failure",
    [
        error(400, "Attribute TOXICITY does not support request languages: und", "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"),
        error(400, "Unable to detect language."),
        error(400, "Comment must be non-empty.", "COMMENT_EMPTY"),
        error(400, "Comment text was too many bytes.", "COMMENT_TOO_LONG"),
    ],
    ids=str,
)
def test_a_text_that_the_service_cannot_score_has_no_toxicity(
    perspective_server: PerspectiveServer, failure: Failure
) -> None:
    perspective_server.failing_texts["odd"] = failure
    found = PerspectiveClient(settings(perspective_server)).toxicities(["fine", "odd", "good"])
    assert found == [toxicity("fine"), None, toxicity("good")]
    assert len(perspective_server.requests) == 3


def test_the_proxy_of_the_environment_is_used(
    perspective_server: PerspectiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, _, path = perspective_server.endpoint.partition("/v1alpha1")
    monkeypatch.setenv("http_proxy", proxy)
    elsewhere = replace(settings(perspective_server), endpoint=f"http://perspective.invalid/v1alpha1{path}")
    assert PerspectiveClient(elsewhere).toxicities(["Some text."]) == [toxicity("Some text.")]


def test_one_failure_ends_the_asking(perspective_server: PerspectiveServer) -> None:
    perspective_server.always = error(403, "no")
    failure_of(perspective_server, texts=200, requests_per_second=50.0)
    assert len(perspective_server.requests) < 100


def test_a_long_text_is_cut_to_what_the_service_takes(perspective_server: PerspectiveServer) -> None:
    PerspectiveClient(settings(perspective_server)).toxicities(["\u20ac" * MOST_BYTES, "\ud800 half a letter"])
    sent = {request.text[:1]: request.text for request in perspective_server.requests}
    assert sent["\u20ac"] == "\u20ac" * (MOST_BYTES // 3)
    assert sent["?"] == "? half a letter"


def test_no_more_pass_in_a_second_than_allowed() -> None:
    limit, started = RateLimit(100.0), time.monotonic()
    for _ in range(6):
        limit.wait(Event())
    assert time.monotonic() - started >= 5 / 100 - 0.001


@pytest.mark.parametrize("key_in", ["header", "query"])
@pytest.mark.parametrize(
    "failure",
    [
        Failure(way="close"),
        Failure(way="hang"),
        Failure(500, KEY),
        Failure(body="garbage"),
        error(403, f"the key {KEY} is wrong"),
        Failure(301),
    ],
    ids=str,
)
def test_the_key_is_in_no_message_log_or_chain_of_exceptions(
    perspective_server: PerspectiveServer,
    failure: Failure,
    key_in: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    perspective_server.always = failure
    with caplog.at_level(logging.DEBUG):
        found = failure_of(perspective_server, key_in=key_in, timeout=0.1, retries=1)
        if failure.way == "answer":
            assert "comments:analyze" in caplog.text  # urllib3 does log what is asked
    assert found.__cause__ is None
    assert found.__context__ is None
    shown = [str(found), repr(found), *traceback.format_exception(found), caplog.text, *capfd.readouterr()]
    assert not any(KEY in text for text in shown)


def test_a_key_that_is_not_there_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InputError, match="environment variable MY_KEY, but it is not set"):
        PerspectiveClient(PerspectiveSettings(key_variable="MY_KEY"))
    monkeypatch.setenv("MY_KEY", "two words\n\u20ac")
    with pytest.raises(InputError, match="MY_KEY, but it holds other characters") as refused:
        PerspectiveClient(PerspectiveSettings(key_variable="MY_KEY"))
    assert "two words" not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"key_in": "body"}, "key_in"),
        ({"threads": 0}, "threads"),
        ({"retries": -1}, "retries"),
        ({"timeout": 0.0}, "timeout"),
        ({"requests_per_second": float("inf")}, "requests_per_second"),
        ({"longest_wait": -1.0}, "longest_wait"),
        ({"backoff": float("nan")}, "backoff"),
        ({"endpoint": "commentanalyzer.googleapis.com"}, "endpoint"),
        ({"endpoint": "http://host:port/path"}, "endpoint"),
    ],
)
def test_values_that_cannot_be_used_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PerspectiveSettings(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"key_variable": KEY},
        {"key_variable": "AIzaLooksLikeAName"},
        {"endpoint": f"https://host/comments:analyze?key={KEY}"},
        {"endpoint": f"https://{KEY}@host/comments:analyze"},
    ],
)
def test_a_key_in_the_wrong_place_is_refused_without_repeating_it(values: dict[str, str]) -> None:
    with pytest.raises(InputError, match="not shown") as refused:
        PerspectiveSettings(**values)  # type: ignore[arg-type]
    assert "AIza" not in str(refused.value)
