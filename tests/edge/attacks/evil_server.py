# SPDX-License-Identifier: Apache-2.0
"""Central's own repository of packages, served over HTTP by somebody who can put anything in its place.

The attacker of these tests sits here: he holds the server and the wire, and of the keys only those that a test gives
him. The repository, its keys and its seals are central's real code.
"""

import contextlib
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Self

from securesystemslib.signer import Signer

from central.key_plans import KeyPlans
from central.trust.assignments import seal_assignment
from central.trust.enrolment import (
    ASSIGNMENT_KEY_FILE,
    ENROLMENT_FOLDER,
    KEYS_FOLDER,
    ROOT_FILE,
    initialise_trust,
    open_repository,
)
from central.trust.keys import KeyName, load_signer
from contracts.commands import AssignPackage, ProductAssignment
from contracts.ids import StationAddress
from tests.fakes.package_server import TOKEN
from tests.fakes.packages import BuiltPackage

_PREFIX = "/api/v1/tuf/"


class EvilServer:
    """Use as a context manager; `url` is central's base URL. Paths are those below `/api/v1/tuf/`."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        # Served in place of the file.
        self.replaced: dict[str, bytes] = {}
        self.endless: set[str] = set()
        # A byte every so many seconds, and never the last one.
        self.dripping: set[str] = set()
        self.drip_s = 0.05
        # Served with `Content-Encoding: gzip`, although nobody asked for it.
        self.zipped: dict[str, bytes] = {}
        # A copy of the repository that the attacker signs by keys he stole; None: the real one is served.
        self.forged: Path | None = None
        self.trust_dir = folder / "trust"
        initialise_trust(self.trust_dir, datetime.now(UTC))
        self.repository = open_repository(self.trust_dir)
        # What the station is given once; the repository may go on from there.
        self.root = (self.trust_dir / ENROLMENT_FOLDER / ROOT_FILE).read_bytes()
        self.assignment_key = (self.trust_dir / ENROLMENT_FOLDER / ASSIGNMENT_KEY_FILE).read_bytes()
        self._is_ending = False
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._http.daemon_threads = True
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Base URL of central."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def is_ending(self) -> bool:
        """Whether answers without an end should end."""
        return self._is_ending

    def key(self, name: str) -> Signer:
        """A private key of central."""
        return load_signer(self.trust_dir / KEYS_FOLDER, name)

    def metadata(self, name: str) -> bytes:
        """A metadata file as it is now."""
        return (self.repository.metadata_dir / name).read_bytes()

    def newest(self, role: str) -> str:
        """File name of the newest version of a role's metadata."""
        found = self.repository.metadata_dir.glob(f"*.{role}.json")
        return max(found, key=lambda path: int(path.name.split(".")[0])).name

    def publish(self, package: BuiltPackage) -> None:
        """Central publishes a package."""
        self.repository.publish(package.folder, package.package_id, datetime.now(UTC))

    def exchange(self, what: str, withdraws: tuple[str, ...] = ()) -> None:
        """Central exchanges a key; the root key lies beside it."""
        now = datetime.now(UTC)
        plans = KeyPlans(self.trust_dir, now)
        plans.exchange(what, "a test", withdraws)
        assert plans.changes.finish(now)

    def seal(
        self,
        station: StationAddress,
        number: int,
        packages: dict[str, str],
        *,
        now: datetime | None = None,
        lifetime: timedelta = timedelta(days=1),
        signer: Signer | None = None,
    ) -> bytes:
        """A signed assignment."""
        now = now or datetime.now(UTC)
        assignment = AssignPackage(
            station=station,
            number=number,
            issued_at=now,
            expires_at=now + lifetime,
            packages=[ProductAssignment(product=product, package_id=found) for product, found in packages.items()],
        )
        return seal_assignment(assignment, signer or self.key(KeyName.ASSIGNMENT))

    def answer(self, path: str) -> bytes | None:
        """Body for a path; None: there is no such file."""
        if path in self.replaced:
            return self.replaced[path]
        parts = path.split("/")
        # As central: a product's name for a file leads to the same file.
        name = "/".join([parts[0], *parts[2:]]) if len(parts) == 4 else path
        for folder in (self.forged, self.trust_dir):
            if folder is not None and (folder / "tuf" / name).is_file():
                return (folder / "tuf" / name).read_bytes()
        return None


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, server: EvilServer, *arguments: object) -> None:
        self._evil = server
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.removeprefix(_PREFIX)
        self._evil.requests.append(path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send_error(401)
        elif path in self._evil.endless:
            self._send_for_ever(b"\0" * 65536, 0)
        elif path in self._evil.dripping:
            self._send_for_ever(b"{", self._evil.drip_s)
        elif path in self._evil.zipped:
            self._send(self._evil.zipped[path], "gzip")
        elif (body := self._evil.answer(path)) is None:
            self.send_error(404)
        else:
            self._send(body)

    def _send(self, body: bytes, encoding: str | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if encoding is not None:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def _send_for_ever(self, content: bytes, pause_s: float) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self._evil.is_ending:
                self.wfile.write(content)
                self.wfile.flush()
                time.sleep(pause_s)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Quiet."""
