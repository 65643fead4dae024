"""A server on this machine that speaks the endpoints of the Hugging Face hub that an upload needs.

It answers as the hub does, keeps what it was sent, and asks for a token. Small files arrive in the commit itself;
files of `large_from` bytes and more have to be in its large storage before the commit names them, where they come by
the xet protocol, or by git LFS, in one piece or in parts. What it stores is what hashes to the promised SHA-256.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_of_a_test"
XET_TOKEN = "xet_of_a_test"
OWNER = "tester"
CHUNK_HEADER = 8  # bytes: version, compressed length (3), scheme, length (3); the only scheme read here is 0, as it is


class HubServer(ThreadingHTTPServer):
    """Keeps every repository with its settings and files, and the large files by their SHA-256.

    Attributes:
        large_from: Size in bytes from which a file goes to the large storage.
        part_size: Size in bytes of the parts that LFS uploads are cut into; None for one piece.
        refused: What begins the paths that are answered with 403, as where a quota is used up.
        full: Whether the LFS endpoint has no room left for any object.
        transfers: How large files came: `xet`, `basic` or `part`, one word for every body.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.large_from = 1 << 40
        self.part_size: int | None = None
        self.refused: str | None = None
        self.full = False
        self.transfers: list[str] = []
        self.stored: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def store(self, content: bytes) -> str:
        """Keep a large file, and return its SHA-256."""
        oid = hashlib.sha256(content).hexdigest()
        self.stored[oid] = content
        return oid


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, as xet's client wants it
    server: HubServer

    def do_GET(self) -> None:
        if re.fullmatch(r"/v1/chunks/.+", self.path):
            self._answer(404, {"error": "no such chunk"})  # nothing is known of any file yet
        elif not self._is_refused() and self._knows(TOKEN):
            if re.fullmatch(r"/api/models/(.+)/xet-write-token/main", self.path):
                end = int(time.time()) + 3600
                self._answer(200, {"casUrl": self.server.address, "accessToken": XET_TOKEN, "exp": end})
            else:
                self._answer(200, {"name": OWNER, "type": "user"})

    def do_PUT(self) -> None:
        """Take a file, or a part of one, as the storage behind LFS does: its signed address is all it asks for."""
        content = self._body()
        if self._is_refused():
            return
        if found := re.fullmatch(r"/storage/([0-9a-f]{64})/(\d+)", self.path):
            self.server.transfers.append("part")
            self.server.parts.setdefault(found[1], {})[int(found[2])] = content
            self._answer(200, {}, {"ETag": hashlib.md5(content).hexdigest()})
        else:
            self.server.transfers.append("basic")
            known = self.path == f"/storage/{hashlib.sha256(content).hexdigest()}"
            if known:
                self.server.store(content)
            self._answer(200 if known else 400, {})

    def do_POST(self) -> None:
        body = self._body()
        if self._is_refused():
            return
        if re.match(r"/v[12]/", self.path):
            if self._knows(XET_TOKEN):
                self._xet(body)
            return
        if found := re.fullmatch(r"/complete/([0-9a-f]{64})", self.path):  # signed too
            self._complete(found[1], json.loads(body)["parts"])
        elif self._knows(TOKEN):
            self._api(body)

    def _api(self, body: bytes) -> None:
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"warnings": [], "errors": []})
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            self._answer(200, {"files": [self._mode(file) for file in json.loads(body)["files"]], "name": found[1]})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            self._commit(found[1], body)
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            self._answer(200, {"objects": [self._lfs_action(one) for one in json.loads(body)["objects"]]})
        elif self.path == "/verify":
            asked = json.loads(body)
            self._answer(200 if len(self.server.stored.get(asked["oid"], b"")) == asked["size"] else 404, {})
        else:
            self._answer(404, {"error": f"no {self.path}"})

    def _knows(self, token: str) -> bool:
        known = self.headers.get("Authorization") == f"Bearer {token}"
        if not known:
            self._answer(401, {"error": "Invalid username or password."})
        return known

    def _is_refused(self) -> bool:
        refused = self.server.refused is not None and self.path.startswith(self.server.refused)
        if refused:
            self._answer(403, {"error": "Private repository storage limit reached."})
        return refused

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["size"] >= self.server.large_from else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        known = name in self.server.repositories
        private = asked.get("private", asked.get("visibility") == "private")
        self.server.repositories.setdefault(name, {"private": private, "files": {}, "commits": 0})
        self._answer(409 if known else 200, {"url": f"{self.server.address}/{name}", "name": name, "id": name})

    def _commit(self, name: str, body: bytes) -> None:
        repository = self.server.repositories[name]
        entries = [json.loads(line) for line in body.decode().splitlines()]
        large = {entry["value"]["path"]: entry["value"]["oid"] for entry in entries if entry["key"] == "lfsFile"}
        if not self.server.stored.keys() >= set(large.values()):
            self._answer(400, {"error": "The commit names large files that were not uploaded."})
            return
        repository["commits"] += 1
        repository["files"] |= {path: self.server.stored[oid] for path, oid in large.items()}
        for entry in entries:
            if entry["key"] == "file":
                repository["files"][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        address = f"{self.server.address}/{name}/commit/{'0' * 40}"
        self._answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": address, "hookOutput": ""})

    def _lfs_action(self, asked: dict[str, Any]) -> dict[str, Any]:
        oid, size, server = asked["oid"], asked["size"], self.server
        if server.full:
            return {"oid": oid, "size": size, "error": {"code": 507, "message": "storage limit reached"}}
        if oid in server.stored:
            return {"oid": oid, "size": size}
        upload: dict[str, Any] = {"href": f"{server.address}/storage/{oid}"}
        if server.part_size is not None:
            count = -(-size // server.part_size)
            parts = {str(number): f"{server.address}/storage/{oid}/{number}" for number in range(1, count + 1)}
            upload = {
                "href": f"{server.address}/complete/{oid}",
                "header": {"chunk_size": str(server.part_size), **parts},
            }
        return {
            "oid": oid,
            "size": size,
            "actions": {"upload": upload, "verify": {"href": f"{server.address}/verify"}},
        }

    def _complete(self, oid: str, named: list[dict[str, Any]]) -> None:
        parts = self.server.parts.get(oid, {})
        fits = {one["partNumber"]: one["etag"] for one in named} == {
            number: hashlib.md5(content).hexdigest() for number, content in parts.items()
        }
        whole = b"".join(parts[number] for number in sorted(parts))
        self._answer(200 if fits and self.server.store(whole) == oid else 400, {})

    def _xet(self, body: bytes) -> None:
        if self.path.startswith("/v1/xorbs/"):
            self.server.transfers.append("xet")
            self.server.store(_chunks(body))
            self._answer(200, {"was_inserted": True})
        elif self.path == "/v1/shards":
            self._answer(200, {"result": 1})
        else:  # newer forms of the same, and telemetry: a client does without them
            self._answer(404, {"error": f"no {self.path}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer(self, code: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _chunks(xorb: bytes) -> bytes:
    """Return what the chunks of a xorb hold, in order: the whole file if it is alone and not compressed."""
    pieces, place = [], 0
    while place < len(xorb):
        length, scheme = int.from_bytes(xorb[place + 1 : place + 4], "little"), xorb[place + 4]
        if xorb[place] != 0 or scheme != 0:
            break  # a compressed chunk, which this server can't read, or what stands behind the chunks
        pieces.append(xorb[place + CHUNK_HEADER : place + CHUNK_HEADER + length])
        place += CHUNK_HEADER + length
    return b"".join(pieces)


@contextmanager
def running_hub() -> Iterator[HubServer]:
    """Run the server for the length of a `with` block."""
    server = HubServer()
    server.daemon_threads = True  # an open connection does not keep the block from ending
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
