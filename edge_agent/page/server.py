# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of the page: a few GETs, bounded connections, bounded time.

Serves what the modules beside it make and knows no figure itself. Loopback only unless a token is set. A port that is
taken costs the page, never the station. Built, started and stopped by the composition root.
"""

import base64
import hmac
import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from contracts.reports import StationFault
from edge_agent.clock import Clock
from edge_agent.monitor.health import HealthMonitor
from edge_agent.page.aid import SetupAid
from edge_agent.page.picture import LivePicture
from edge_agent.page.settings import PageSettings
from edge_agent.page.views import PageViews
from edge_agent.page.watch import LoopWatch
from edge_agent.recipes.recipe import Recipes
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

_MAX_CONNECTIONS: Final = 16
_SILENT_S: Final = 5.0
# A connection that has not ended by then is cut when its place is wanted.
_LONGEST_S: Final = 10.0
_POLL_S: Final = 0.2
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_JSON: Final = "application/json"
_MISSING: Final = "page-missing"
_TEXT: Final = "text/plain; charset=utf-8"
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Answer = tuple[int, str, bytes]


class Page:
    """The page of one station.

    Args:
        settings: where it is.
        health: the station's monitor.
        recipes: ROI and budgets.
        clock: the station's clock.
        queue_length: frames that wait for the judge.
    """

    def __init__(
        self,
        settings: PageSettings,
        *,
        health: HealthMonitor,
        recipes: Recipes,
        clock: Clock,
        queue_length: Callable[[], int],
    ) -> None:
        self.settings = settings
        self.watch = LoopWatch()
        self._clock = clock
        self._picture = LivePicture(self.watch, recipes, clock)
        self._views = PageViews(
            health,
            watch=self.watch,
            recipes=recipes,
            aid=SetupAid(self.watch, recipes, clock),
            queue_length=queue_length,
            clock=clock,
        )
        self._faults = FaultBook(clock)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is; empty when there is none."""
        if self._server is None:
            return ""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}/" if ":" in str(host) else f"http://{host!s}:{port}/"

    def start(self) -> None:
        """Begin to serve; a port that cannot be had is a fault and no page."""
        if not self.settings.port:
            return
        try:
            self._server = _Server(self.settings, self.answer, self._clock)
        except OSError as error:
            where = f"{self.settings.host}:{self.settings.port}"
            said = f"this station has no page and no metrics: {where} cannot be had: {error.strerror or error}"
            remedy = "set page.port to a free one in this station's settings, or to 0 for no page, and restart"
            _log.warning("%s; %s", said, remedy)
            self._faults.add(_MISSING, said, remedy)
            return
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="page", daemon=True)
        self._thread.start()
        _log.info("page url=%s", self.url)

    def faults(self) -> list[StationFault]:
        """Why there is no page where there should be one."""
        return self._faults.current()

    def stop(self) -> None:
        """End; answers under way may be cut. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        """Status, media type and body for one GET."""
        if path in _FILES:
            name, media_type = _FILES[path]
            return 200, media_type, resources.files("edge_agent.page").joinpath(name).read_bytes()
        routes: dict[str, Callable[[], Answer]] = {
            "/picture.jpg": lambda: self._jpeg(query),
            "/page.json": lambda: (200, _JSON, self._views.page_json()),
            "/status.json": lambda: (200, _JSON, self._views.status_json()),
            "/metrics": self._metrics,
            "/healthz": self._alive,
            "/favicon.ico": lambda: (204, _TEXT, b""),
        }
        return routes[path]() if path in routes else (404, _TEXT, b"not found\n")

    def _jpeg(self, query: dict[str, list[str]]) -> Answer:
        content = self._picture.jpeg(with_roi="roi" in query, with_heat="heat" in query)
        return (200, "image/jpeg", content) if content else (404, _TEXT, b"no picture yet\n")

    def _metrics(self) -> Answer:
        # Here, so that a station that nobody scrapes does not load the library.
        from edge_agent.page.metrics import MEDIA_TYPE, metrics_text  # noqa: PLC0415

        return 200, MEDIA_TYPE, metrics_text(self._views)

    def _alive(self) -> Answer:
        overdue = self._views.health.liveness.overdue()
        return (503, _TEXT, f"stalled: {', '.join(overdue)}\n".encode()) if overdue else (200, _TEXT, b"ok\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _MAX_CONNECTIONS

    def __init__(
        self, settings: PageSettings, answer: Callable[[str, dict[str, list[str]]], Answer], clock: Clock
    ) -> None:
        self.settings = settings
        self.answer = answer
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[Any, float] = {}
        self.refused = 0
        if ":" in settings.host:
            self.address_family = socket.AF_INET6
        super().__init__((settings.host, settings.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection if there is a place for it; the oldest that is overdue makes room."""
        now_s = self._clock.monotonic()
        with self._lock:
            is_full = len(self._open) >= _MAX_CONNECTIONS
            oldest, since_s = next(iter(self._open.items()), (None, now_s))
            if is_full and oldest is not None and now_s - since_s > _LONGEST_S:
                # It drips, or does not read: its thread ends with an error of the socket.
                del self._open[oldest]
                _cut(oldest)
                is_full = False
            if not is_full:
                self._open[request] = now_s
        if is_full:
            self.refused += 1
            _log.debug("page full refused=%d", self.refused)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Give the place free."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news; anything else is for the log."""
        del request
        _log.debug("page request failed client=%s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SILENT_S
    server_version = "sightline-edge"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer, or refuse."""
        parts = urlsplit(self.path)
        if parts.path != "/healthz" and not self._is_allowed():
            return
        try:
            status, media_type, body = self.server.answer(parts.path, parse_qs(parts.query, keep_blank_values=True))
        except Exception:  # noqa: BLE001 - a page that cannot be made must not end in a silent connection
            _log.exception("page could not be made path=%s", parts.path[:100])
            status, media_type, body = 500, _TEXT, b"the page could not be made; see the station's log\n"
        self._send(status, media_type, body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Plain words for what the base class refuses; every method but GET is 405."""
        del message, explain
        self._send(405 if code == 501 else code, _TEXT, b"refused\n")

    def log_message(self, *_: Any) -> None:
        """Requests are no news."""

    def _is_allowed(self) -> bool:
        token = self.server.settings.token
        if token:
            if hmac.compare_digest(_given_token(self.headers.get("Authorization", "")).encode(), token.encode()):
                return True
            self._send(401, _TEXT, b"the page's token is wanted\n", {"WWW-Authenticate": 'Basic realm="Sightline"'})
            return False
        # Without a token a page of the internet, rebound to this address by its name, must learn nothing.
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:
            name = None
        if name in _LOOPBACK_NAMES or name == self.server.settings.host:
            return True
        self._send(421, _TEXT, b"ask by 127.0.0.1 or localhost\n")
        return False

    def _send(self, status: int, media_type: str, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | (more or {})).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _given_token(authorization: str) -> str:
    """Of `Bearer <token>`, or the password of `Basic`, which a browser asks a person for."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def _cut(connection: Any) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        _log.debug("page connection had gone")
