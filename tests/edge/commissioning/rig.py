# SPDX-License-Identifier: Apache-2.0
"""A station's folder in which everything is right, and a stand-in for central, for tests that then break one thing."""

import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from securesystemslib.signer import CryptoSigner

from contracts.ids import StationAddress
from edge_agent.clock import SystemClock
from edge_agent.commissioning.doctor import _version, examine
from edge_agent.commissioning.findings import Finding, Level
from plant.processes.broker import free_port
from tests.edge import tiny_package

TOKEN = "station-token"
ADDRESS = StationAddress(site="plant", line="line-1", station="st-1")


def scene(brightness: int = 128, *, blur_px: float = 0.0, side_px: int = 192) -> NDArray[np.uint8]:
    """Grey blocks with hard edges around a mean brightness, uint8 H × W × 3."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(-100, 100, (side_px // 12, side_px // 12)).astype(np.float32) * min(1.0, brightness / 128)
    grey = np.clip(np.kron(coarse, np.ones((12, 12), dtype=np.float32)) + brightness, 0, 255)
    if blur_px:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur_px), dtype=np.float32)
    return np.dstack([grey.astype(np.uint8)] * 3)


class Central:
    """Answers `/health` and the package list as central does. Use as a context manager."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        # How old the Date of each answer to a token is already; no more in here: not at all.
        self.staleness: list[timedelta] = []
        self.version = _version()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answer, self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    def __init__(self, central: Central, *arguments: object) -> None:
        self._central = central
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        late = timedelta()
        if self.path == "/api/v1/health":
            status, body = 200, json.dumps({"status": "ok", "version": self._central.version}).encode()
        else:
            late = self._central.staleness.pop(0) if self._central.staleness else late
            status, body = (200 if self.headers.get("Authorization") == f"Bearer {TOKEN}" else 401), b"{}"
        self.send_response_only(status)
        self.send_header("Date", format_datetime(datetime.now(UTC) + self._central.ahead - late, usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


class StationFolder:
    """`station.toml` with what it names beside it; a test changes `values` and asks for the findings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = folder / "pictures"
        self.pictures.mkdir(parents=True)
        self.show(scene())
        key = CryptoSigner.generate_ed25519().public_key
        (folder / "assignment.pub").write_text(json.dumps({"keyid": key.keyid, **key.to_dict()}))
        (folder / "root.json").write_text("{}")
        self.package_id = tiny_package.install(folder / "data")
        self.values: dict[str, object] = {
            "site": ADDRESS.site,
            "line": ADDRESS.line,
            "station": ADDRESS.station,
            "data_dir": "data",
            "broker.url": f"mqtt://127.0.0.1:{free_port()}",
            "central.url": f"http://127.0.0.1:{free_port()}",
            "central.token": TOKEN,
            "trust.root": "root.json",
            "trust.assignment_key": "assignment.pub",
            "source.kind": "replay",
            "source.url": str(self.pictures),
            "source.product": "ring",
            "bounds.evidence_max_bytes": 1024 * 1024,
            "bounds.max_package_bytes": 1024 * 1024,
        }

    def show(self, *pictures: NDArray[np.uint8]) -> None:
        """These pictures and no others are before the camera."""
        for path in self.pictures.iterdir():
            path.unlink()
        for index, picture in enumerate(pictures):
            assert cv2.imwrite(str(self.pictures / f"{index}.png"), picture)

    def settings(self) -> Path:
        """Write the settings file."""
        path = self.folder / "station.toml"
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in self.values.items()))
        return path

    def findings(self) -> list[Finding]:
        """What the doctor says."""
        return examine(self.settings(), SystemClock(), {})

    def finding(self, check: str, level: Level) -> Finding:
        """The one finding of that check and level."""
        found = self.findings()
        matching = [finding for finding in found if finding.check == check and finding.level is level]
        assert len(matching) == 1, found
        return matching[0]
