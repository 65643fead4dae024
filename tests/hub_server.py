"""A server on this machine that speaks the few endpoints of the Hugging Face hub that an upload needs.

It answers as the hub does for a repository whose files all go into the commit itself, keeps what it was sent, and asks
for a token.
"""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_of_a_test"
OWNER = "tester"


class HubServer(ThreadingHTTPServer):
    """Keeps every repository with its settings and files."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, Any]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_GET(self) -> None:
        if self._knows_the_user():
            self._answer(200, {"name": OWNER, "type": "user"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if not self._knows_the_user():
            return
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"warnings": [], "errors": []})
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            files = json.loads(body)["files"]
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for file in files
            ]
            self._answer(200, {"files": modes, "name": found[1]})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            self._commit(found[1], body)
        else:
            self._answer(404, {"error": f"no {self.path}"})

    def _knows_the_user(self) -> bool:
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not known:
            self._answer(401, {"error": "Invalid username or password."})
        return known

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        known = name in self.server.repositories
        private = asked.get("private", asked.get("visibility") == "private")
        self.server.repositories.setdefault(name, {"private": private, "files": {}, "commits": 0})
        self._answer(409 if known else 200, {"url": f"{self.server.address}/{name}", "name": name, "id": name})

    def _commit(self, name: str, body: bytes) -> None:
        repository = self.server.repositories[name]
        repository["commits"] += 1
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                repository["files"][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        address = f"{self.server.address}/{name}/commit/{'0' * 40}"
        self._answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": address, "hookOutput": ""})

    def _answer(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def running_hub() -> Iterator[HubServer]:
    """Run the server for the length of a `with` block."""
    server = HubServer()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
