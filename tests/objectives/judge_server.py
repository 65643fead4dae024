"""A real judge's endpoint on this machine: speaks `/v1/chat/completions`, counts what it is asked, and fails on order.

What it answers is a pure function of the question, so that runs can be compared.
"""

import json
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-this-must-stay-secret-4711"
KEY_VARIABLE = "JUDGE_TEST_KEY"
MODEL = "stern-judge"


@dataclass
class Answer:
    """What the server says: a status with a text, which is the judge's where the status is 200."""

    text: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bool = False  # the text is the whole body
    code: str | None = None


Behaviour = Callable[[str, int], Answer]


def rating_of(question: str) -> int:
    """The rating that the server gives by default: any number from 1 to 10, always the same for a question."""
    return zlib.crc32(question.encode()) % 10 + 1


def rate(question: str, times: int) -> Answer:
    return Answer(f"It could be longer. Rating: [[{rating_of(question)}]]")


class JudgeServer:
    """Counts the questions it got, and asks `behave` what to answer: given the question and how often it was asked."""

    def __init__(self) -> None:
        self.behave: Behaviour = rate
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = server.answer(self.path, self.headers.get("Authorization", ""), body)
                try:
                    self._send(answer)
                except OSError:  # the client has lost its patience
                    self.close_connection = True

            def _send(self, answer: Answer) -> None:
                if answer.raw:
                    content = answer.text
                elif answer.status == 200:
                    message = {"role": "assistant", "content": answer.text}
                    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
                    content = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "choices": choices})
                else:
                    content = json.dumps({"error": {"message": answer.text, "code": answer.code}})
                data = content.encode()
                self.send_response(answer.status)
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._http = Server(("127.0.0.1", 0), Handler)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def requests(self) -> int:
        return len(self.bodies)

    def answer(self, path: str, authorization: str, body: dict[str, Any]) -> Answer:
        if path != "/v1/chat/completions":
            return Answer("there is nothing here", 404)
        question = body["messages"][-1]["content"]
        with self._lock:
            self.bodies.append(body)
            self.asked[question] += 1
            times = self.asked[question]
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if authorization != f"Bearer {KEY}":
                return Answer(f"wrong key: {authorization}", 401)
            if body["model"] != MODEL:
                return Answer(f"no model {body['model']}", 404)
            return self.behave(question, times)
        finally:
            with self._lock:
                self._at_once -= 1

    def forget(self) -> None:
        """Count from zero."""
        self.asked.clear()
        self.bodies.clear()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def running_judge() -> Iterator[JudgeServer]:
    server = JudgeServer()
    try:
        yield server
    finally:
        server.close()
