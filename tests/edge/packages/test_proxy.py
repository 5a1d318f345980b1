# SPDX-License-Identifier: Apache-2.0
"""The way to central leads over the proxy of the settings, and over no other."""

import base64
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from contracts.vocabulary import Variant
from edge_agent.central_client import proxy_of
from edge_agent.clock import SystemClock
from edge_agent.download_settings import ProxySettings
from edge_agent.errors import TransportError
from edge_agent.packages.fetch import TufPackageFetcher
from edge_agent.reporting.uploader import EvidenceUploader
from tests.fakes.package_server import TOKEN, PackageServer
from tests.fakes.packages import build_package


class _Proxy(BaseHTTPRequestHandler):
    seen: list[str]
    wants: str

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.headers.get("Proxy-Authorization") != self.wants:
            self.send_error(407)
            return
        where = urlsplit(self.path)
        onward = http.client.HTTPConnection(where.hostname or "", where.port)
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        onward.request("GET", where.path, headers=headers)
        answer = onward.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("server", "date"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        onward.close()

    def do_POST(self) -> None:
        self.seen.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(name="proxy")
def _proxy() -> Iterator[ThreadingHTTPServer]:
    _Proxy.seen = []
    _Proxy.wants = "Basic " + base64.b64encode(b"anna:secret").decode()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(folder: Path, server: PackageServer, proxy: ProxySettings | None) -> Path:
    package = build_package(folder / "built")
    server.publish(package)
    into = folder / "into"
    into.mkdir()
    fetcher = TufPackageFetcher(
        server.url,
        TOKEN,
        root=server.root,
        metadata_dir=folder / "tuf",
        clock=SystemClock(),
        max_package_bytes=10**7,
        proxy=proxy_of(proxy),
    )
    try:
        fetcher.fetch(package.package_id, "ring", into, lambda _: [Variant.FP32], lambda: False)
    finally:
        fetcher.close()
    return into


def test_packages_come_over_the_proxy_of_the_settings(
    tmp_path: Path, server: PackageServer, proxy: ThreadingHTTPServer
) -> None:
    url = f"http://127.0.0.1:{proxy.server_address[1]}"
    into = fetch(tmp_path, server, ProxySettings(url, "anna", "secret"))
    assert (into / "fp32.onnx").exists()
    assert len(_Proxy.seen) == len(server.requests)
    assert all(path.startswith(server.url) for path in _Proxy.seen)


def test_proxy_that_wants_another_password_names_the_settings(
    tmp_path: Path, server: PackageServer, proxy: ThreadingHTTPServer
) -> None:
    url = f"http://127.0.0.1:{proxy.server_address[1]}"
    with pytest.raises(TransportError, match=r"central\.proxy_password"):
        fetch(tmp_path, server, ProxySettings(url, "anna", "wrong"))
    assert server.requests == []


def test_pictures_go_over_the_same_proxy(proxy: ThreadingHTTPServer) -> None:
    url = f"http://127.0.0.1:{proxy.server_address[1]}"
    uploader = EvidenceUploader("http://central.plant.example", TOKEN, proxy=proxy_of(ProxySettings(url)))
    uploader.report_unavailable([])
    uploader.close()
    assert _Proxy.seen == ["http://central.plant.example/api/v1/evidence/unavailable"]


def test_proxy_of_the_environment_is_not_asked(
    tmp_path: Path, server: PackageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (fetch(tmp_path, server, None) / "fp32.onnx").exists()
