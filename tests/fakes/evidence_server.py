# SPDX-License-Identifier: Apache-2.0
"""Central's evidence endpoints over real HTTP on loopback, with switches: broken links, refusals, wrong offsets."""

import hashlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOKEN = "station-token"
_PREFIX = "/api/v1/"


class EvidenceServer:
    """Use as a context manager; `url` is central's base URL."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.offers: list[dict[str, Any]] = []
        self.complete: dict[str, bytes] = {}
        self.partial: dict[str, bytes] = {}
        self.unavailable: list[int] = []
        # (digest, offset, bytes that came) of each PUT.
        self.puts: list[tuple[str, int, int]] = []
        self.token = TOKEN
        # Next answers by method and path, taken before anything else.
        self.forced: list[int] = []
        self.refused_digests: dict[str, int] = {}
        # Break the connection after this many bytes of a body, once for each entry.
        self.break_after: list[int] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Base URL of central."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def state(self, digest: str) -> dict[str, Any]:
        """How far a picture has come."""
        if digest in self.complete:
            return {"upload_offset": len(self.complete[digest]), "is_complete": True}
        return {"upload_offset": len(self.partial.get(digest, b"")), "is_complete": False}

    def append(self, digest: str, offset: int, body: bytes) -> tuple[int, dict[str, Any]]:
        """Take bytes, as central does."""
        held = self.partial.get(digest, b"")
        if digest in self.complete:
            return 200, self.state(digest)
        if offset != len(held):
            return 409, {"error": "offset", "detail": f"expected {len(held)}, got {offset}"}
        size = next(offer["size_bytes"] for offer in self.offers if offer["sha256"] == digest)
        held += body
        if len(held) < size:
            self.partial[digest] = held
        elif hashlib.sha256(held).hexdigest() == digest:
            self.partial.pop(digest, None)
            self.complete[digest] = held
        else:
            self.partial.pop(digest, None)
            return 422, {"error": "wrong digest", "detail": "start again"}
        return 200, self.state(digest)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: EvidenceServer, *arguments: object) -> None:
        self._evidence = server
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        with self._evidence.lock:
            if self._is_stopped():
                return
            if self.path == f"{_PREFIX}evidence/unavailable":
                self._evidence.unavailable += [one["sequence"] for one in body["inspections"]]
                self._answer(200, {"audits_lost": 0})
            else:
                self._evidence.offers.append(body)
                status = self._evidence.refused_digests.get(body["sha256"], 200)
                self._answer(status, self._evidence.state(body["sha256"]))

    def do_PUT(self) -> None:
        digest = self.path.rsplit("/", 1)[1]
        offset = int(self.headers["Upload-Offset"])
        length = int(self.headers["Content-Length"])
        with self._evidence.lock:
            cut = self._evidence.break_after.pop(0) if self._evidence.break_after else length
            body = self.rfile.read(min(cut, length))
            if self._is_stopped():
                return
            self._evidence.puts.append((digest, offset, len(body)))
            status, state = self._evidence.append(digest, offset, body)
            if cut < length:
                # What had come is kept; the answer never leaves.
                self.close_connection = True
                self.connection.close()
                return
            self._answer(status, state)

    def _is_stopped(self) -> bool:
        if self.headers.get("Authorization") != f"Bearer {self._evidence.token}":
            self._answer(401, {"error": "unauthorized", "detail": "token"})
            return True
        if self._evidence.forced:
            self._answer(self._evidence.forced.pop(0), {"error": "forced", "detail": "by the test"})
            return True
        return False

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""
