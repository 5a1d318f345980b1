# SPDX-License-Identifier: Apache-2.0
"""How a test's file server answers HTTP ranges: well, not at all, or with a lie. Counts what it sends."""

import hashlib
import re
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

_ASKED = re.compile(r"bytes=(\d+)-(\d+)")
_PIECE = 16 * 1024


@dataclass
class RangeRules:
    """Switches of one server.

    Args:
        is_served: False: every answer is the whole file, as of a server that knows no ranges.
        lie: `shifted`: right words, other bytes; `elsewhere`: another range than was asked for; `too-long`: the range
            and more; `none-there`: 416.
        cut_after: path → bytes after which the connection breaks, once.
        trickle_s: path → pause after each byte.
    """

    is_served: bool = True
    lie: str = ""
    cut_after: dict[str, int] = field(default_factory=dict)
    trickle_s: dict[str, float] = field(default_factory=dict)
    # (path, Range header) of every answer, and bytes of their bodies by path.
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    def send(self, handler: BaseHTTPRequestHandler, path: str, status: int, body: bytes) -> None:
        """Answer one request for `body`."""
        told = handler.headers.get("Range", "")
        self.asked.append((path, told))
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        found = _ASKED.fullmatch(told)
        headers = {"ETag": etag}
        if status == 200 and found and self.is_served and handler.headers.get("If-Range", etag) == etag:
            status, body, more = self._range(int(found[1]), int(found[2]), body)
            headers |= more
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        self._write(handler, path, body)

    def _range(self, begin: int, end: int, whole: bytes) -> tuple[int, bytes, dict[str, str]]:
        told = f"bytes {begin}-{end}/{len(whole)}"
        if self.lie == "none-there":
            return 416, b"", {"Content-Range": f"bytes */{len(whole)}"}
        if self.lie == "shifted":
            return 206, whole[: end + 1 - begin], {"Content-Range": told}
        if self.lie == "elsewhere":
            return 206, whole[: end + 1 - begin], {"Content-Range": f"bytes 0-{end - begin}/{len(whole)}"}
        if self.lie == "too-long":
            return 206, whole[begin : end + 1] + b"\0" * 100_000, {"Content-Range": told}
        return 206, whole[begin : end + 1], {"Content-Range": told}

    def _write(self, handler: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        limit = self.cut_after.pop(path, len(body))
        step = 1 if path in self.trickle_s else _PIECE
        try:
            for begin in range(0, min(limit, len(body)), step):
                piece = body[begin : min(begin + step, limit)]
                # Before: whoever has the last bytes may look at once.
                self.sent[path] = self.sent.get(path, 0) + len(piece)
                handler.wfile.write(piece)
                if path in self.trickle_s:
                    handler.wfile.flush()
                    time.sleep(self.trickle_s[path])
        except OSError:
            return
        if limit < len(body):
            handler.close_connection = True
