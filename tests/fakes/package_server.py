# SPDX-License-Identifier: Apache-2.0
"""A real TUF repository made with python-tuf, served on loopback, with switches for each attack.

Stands for central's `/api/v1/tuf`; holds the assignment key too, so that a test can seal assignments.
"""

import json
import shutil
import threading
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from contracts import codec
from contracts.commands import ASSIGNMENT_PAYLOAD_TYPE, AssignPackage, ChallengerAssignment, ProductAssignment
from contracts.ids import StationAddress
from tests.fakes.packages import BuiltPackage
from tests.fakes.ranges import RangeRules

TOKEN = "station-token"
_PREFIX = "/api/v1/tuf/"


class PackageServer:
    """Use as a context manager; `url` is central's base URL."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        # Path below /api/v1/tuf/ → what is sent instead of the file.
        self.replaced: dict[str, bytes] = {}
        self.endless: set[str] = set()
        self.status: dict[str, int] = {}
        self.on_request: Callable[[str], None] = lambda _path: None
        self.is_reachable = True
        self.ranges = RangeRules()
        self._folder = folder
        self._signers = {role: CryptoSigner.generate_ed25519() for role in ("root", "targets", "snapshot", "timestamp")}
        self.assignment_signer = CryptoSigner.generate_ed25519()
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        self._make()
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

    @property
    def root(self) -> bytes:
        """The root metadata a station is enrolled with."""
        return (self._folder / "metadata" / "1.root.json").read_bytes()

    @property
    def assignment_key(self) -> bytes:
        """Content of `assignment.pub`."""
        public = self.assignment_signer.public_key
        return json.dumps(public.to_dict() | {"keyid": public.keyid}).encode()

    def publish(self, package: BuiltPackage, *, product: str | None = None) -> None:
        """Sign a package's files into the targets."""
        for path in sorted(package.folder.iterdir()):
            target_path = f"{package.package_id}/{path.name}"
            target = TargetFile.from_file(target_path, str(path), ["sha256"])
            target.unrecognized_fields["custom"] = {"product": product or package.manifest.product}
            self._targets.signed.targets[target_path] = target
        shutil.copytree(package.folder, self._folder / "targets" / package.package_id, dirs_exist_ok=True)
        self.write()

    def withdraw(self, package: BuiltPackage) -> None:
        """No metadata names it any more."""
        listed = self._targets.signed.targets
        for path in [path for path in listed if path.startswith(f"{package.package_id}/")]:
            del listed[path]
        self.write()

    def write(self, *, timestamp_expires: datetime | None = None, signer: CryptoSigner | None = None) -> None:
        """Raise all versions and write; `signer` signs the timestamp in place of the right one."""
        version = self._timestamp.signed.version + 1
        later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        self._targets.signed.version = self._snapshot.signed.version = self._timestamp.signed.version = version
        self._snapshot.signed.meta["targets.json"] = MetaFile(version)
        self._timestamp.signed.snapshot_meta = MetaFile(version)
        self._timestamp.signed.expires = timestamp_expires or later
        self._save(self._targets, f"{version}.targets.json", self._signers["targets"])
        self._save(self._snapshot, f"{version}.snapshot.json", self._signers["snapshot"])
        self._save(self._timestamp, "timestamp.json", signer or self._signers["timestamp"])

    def metadata(self, name: str) -> Path:
        """Path of a metadata file."""
        return self._folder / "metadata" / name

    @property
    def version(self) -> int:
        """Version of the newest metadata."""
        return self._timestamp.signed.version

    def seal(
        self,
        station: StationAddress,
        number: int,
        packages: dict[str, str],
        *,
        now: datetime | None = None,
        lifetime: timedelta = timedelta(days=1),
        signer: CryptoSigner | None = None,
        payload_type: str = ASSIGNMENT_PAYLOAD_TYPE,
        challengers: dict[str, ChallengerAssignment] | None = None,
        urgent: Collection[str] = (),
    ) -> bytes:
        """A signed assignment."""
        now = now or datetime.now(UTC)
        assignment = AssignPackage(
            station=station,
            number=number,
            issued_at=now,
            expires_at=now + lifetime,
            packages=[
                ProductAssignment(
                    product=product,
                    package_id=found,
                    challenger=(challengers or {}).get(product),
                    is_urgent=product in urgent,
                )
                for product, found in packages.items()
            ],
        )
        envelope = Envelope(codec.encode(assignment), payload_type, {})
        envelope.sign(signer or self.assignment_signer)
        return json.dumps(envelope.to_dict()).encode()

    def _make(self) -> None:
        later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        root = Root(version=1, expires=later, consistent_snapshot=True)
        for role, signer in self._signers.items():
            root.add_key(signer.public_key, role)
        self._save(Metadata(root), "1.root.json", self._signers["root"])
        self._targets = Metadata(Targets(1, expires=later))
        self._snapshot = Metadata(Snapshot(1, expires=later))
        self._timestamp = Metadata(Timestamp(1, expires=later))
        self.write()

    def _save(
        self,
        metadata: Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp],
        name: str,
        signer: CryptoSigner,
    ) -> None:
        metadata.sign(signer)
        metadata.to_file(str(self.metadata(name)))

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body for a path below /api/v1/tuf/."""
        if path in self.status:
            return self.status[path], b""
        if path in self.replaced:
            return 200, self.replaced[path]
        parts = path.split("/")
        # As central: the name that a product's role gives a file leads to the same file.
        file = self._folder / ("/".join([parts[0], *parts[2:]]) if len(parts) == 4 else path)
        return (200, file.read_bytes()) if file.is_file() else (404, b"")


class _Handler(BaseHTTPRequestHandler):
    """Serves the repository; every request needs the token."""

    def __init__(self, server: PackageServer, *arguments: object) -> None:
        self._packages = server
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.removeprefix(_PREFIX)
        self._packages.requests.append(path)
        self._packages.on_request(path)
        if not self._packages.is_reachable:
            self.close_connection = True
            return
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send_error(401)
            return
        if path in self._packages.endless:
            self._send_for_ever()
            return
        self._packages.ranges.send(self, path, *self._packages.answer(path))

    def _send_for_ever(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"\0" * 65536)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Quiet."""
