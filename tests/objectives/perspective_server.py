"""A server on this machine that speaks the Perspective API's protocol, and fails as told."""

import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

PATH = "/v1alpha1/comments:analyze"
KEY = "AIzaSecret-never_shown-0123456789"


@dataclass(frozen=True)
class Failure:
    """How one request fails: by an answer, or without one (`hang`, `close`, `cut`)."""

    status: int = 200
    body: str = ""
    retry_after: str | None = None
    way: str = "answer"


@dataclass
class Request:
    """What came in."""

    body: dict[str, Any]
    header_key: str | None
    query: dict[str, list[str]]
    at: float

    @property
    def text(self) -> str:
        return str(self.body["comment"]["text"])


def toxicity(text: str) -> float:
    """What the server answers for a text: any number that follows from it."""
    return sum(text.encode()) % 97 / 96


def error(status: int, message: str, kind: str = "") -> Failure:
    """An error as the service words it."""
    details = [{"@type": "type.googleapis.com/google.commentanalyzer.v1alpha1.Error", "errorType": kind}]
    body = {"error": {"code": status, "message": message, "details": details if kind else []}}
    return Failure(status, json.dumps(body))


@dataclass
class PerspectiveServer:
    """What the server is to do, and what it has seen.

    Attributes:
        key: The only key that it takes.
        failures: How the next requests fail, one each; then all succeed.
        always: How all requests fail, if they do.
        failing_texts: How requests with these texts fail.
        fails_from: Number of the request from which on all fail by `always`.
    """

    key: str = KEY
    endpoint: str = ""
    failures: deque[Failure] = field(default_factory=deque)
    always: Failure | None = None
    fails_from: int = 0
    failing_texts: dict[str, Failure] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def next_failure(self, request: Request) -> Failure | None:
        with self.lock:
            self.requests.append(request)
            if self.always is not None and len(self.requests) > self.fails_from:
                return self.always
            if request.text in self.failing_texts:
                return self.failing_texts[request.text]
            return self.failures.popleft() if self.failures else None


@contextmanager
def running_server() -> Iterator[PerspectiveServer]:
    """Run a server for the length of a `with` block."""
    server = PerspectiveServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            url = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = Request(body, self.headers["X-Goog-Api-Key"], parse_qs(url.query), time.monotonic())
            failure = server.next_failure(request)
            keys = [request.header_key, *request.query.get("key", [])]
            if failure is None and server.key not in keys:
                failure = error(403, f"API key not valid: {keys}. Please pass a valid API key.")
            if failure is None:
                answer = {"attributeScores": {"TOXICITY": {"summaryScore": {"value": toxicity(request.text)}}}}
                failure = Failure(body=json.dumps(answer if url.path == PATH else {}))
            try:
                self.fail(failure)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has given up

        def fail(self, failure: Failure) -> None:
            if failure.way == "close":
                self.close_connection = True
                return
            if failure.way == "hang":
                time.sleep(0.5)
            content = failure.body.encode()
            self.send_response(failure.status)
            self.send_header("Content-Length", str(len(content) + (10 if failure.way == "cut" else 0)))
            if failure.retry_after is not None:
                self.send_header("Retry-After", failure.retry_after)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = self.close_connection or failure.way == "cut"

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.endpoint = f"http://127.0.0.1:{listening.server_port}{PATH}"
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
