# SPDX-License-Identifier: Apache-2.0
"""What a station fetches of a new package when it has the one before: settles whether chunks are worth their list.

Two packages are trained on rendered rings by the command that an engineer types, on other pictures and with another
seed, every variant made; the second is then released once more with other limits and the same graphs. The station's own
fetcher brings each from central's own routes and repository over loopback, into an empty store, beside the package
before, and back. Bytes are those of HTTP bodies, signed metadata and manifest included; `saved` is against the files
that the station wants of the package.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import cv2
import uvicorn
from fastapi import FastAPI, Request

from central.api import problems, tuf
from central.trust.enrolment import initialise_trust, open_repository
from contracts import codec
from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import Variant
from edge_agent.clock import SystemClock
from edge_agent.packages.download import Transfer
from edge_agent.packages.fetch import TufPackageFetcher
from plant.parts.renderer import PartRenderer

_SIZE_PX: Final = 256
_TRAIN: Final = 120
_VARIANTS: Final = (Variant.INT8_U8S8, Variant.INT8_S8S8, Variant.FP16, Variant.FP32)
_CPU: Final = (Variant.INT8_U8S8, Variant.FP32)


@dataclass
class Sent:
    """Bytes of the answers' bodies, and how many there were."""

    body_bytes: int = 0
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> tuple[int, int]:
        """What was sent since the last call."""
        with self.lock:
            found = self.body_bytes, self.requests
            self.body_bytes = self.requests = 0
            return found


def run() -> dict[str, Any]:
    """Bytes fetched and saved, for each variant alone and for what a station with a CPU wants."""
    with tempfile.TemporaryDirectory(prefix="sightline-delta-") as name:
        folder = Path(name)
        first, second = _train(folder / "first", pictures=5, seed=0), _train(folder / "second", pictures=15, seed=1)
        third = _with_other_limits(second, folder / "third")
        with _central(folder, (first, second, third)) as (url, root, sent):

            def fetch(package: Path, variants: Sequence[Variant], have: Sequence[Path]) -> dict[str, Any]:
                return _fetch(folder, url, root, sent, package=package, variants=variants, have=have)

            whole = fetch(second, _CPU, [])
            retrained = fetch(second, _CPU, [first])
            limits = fetch(third, _CPU, [second])
            back = fetch(second, _CPU, [third])
            alone = {each.value: fetch(second, [each], [first]) for each in _VARIANTS}
    return {
        "variants": [each.value for each in _CPU],
        "empty_store": whole,
        "retrained": retrained,
        "limits_only": limits,
        "limits_taken_back": back,
        "retrained_each_variant_alone": alone,
        "training_pictures": _TRAIN,
        "size_px": _SIZE_PX,
    }


def _train(folder: Path, *, pictures: int, seed: int) -> Path:
    renderer = PartRenderer("ring", _SIZE_PX, seed=pictures)
    (folder / "rings" / "good").mkdir(parents=True)
    for number in range(_TRAIN):
        cv2.imwrite(str(folder / "rings" / "good" / f"{number:03}.png"), renderer.render(number).pixels)
    command = [sys.executable, "-m", "models", "--quiet", "train", "--images", str(folder / "rings")]
    command += ["--product", "ring", "--backbone", "compact", "--seed", str(seed), "--variants", "all"]
    subprocess.run([*command, "--threads", "1", "--out", str(folder / "out")], check=True, stdout=sys.stderr)
    return folder / "out" / "package"


def _with_other_limits(package: Path, folder: Path) -> Path:
    """The same graphs under a manifest of its own, as when limits are set anew."""
    shutil.copytree(package, folder)
    manifest = codec.decode(PackageManifest, (folder / MANIFEST_NAME).read_bytes())
    limits = manifest.limits.model_copy(update={"ng_limit": manifest.limits.ng_limit * 1.05})
    (folder / MANIFEST_NAME).write_bytes(codec.encode(manifest.model_copy(update={"limits": limits})))
    return folder


def _id(package: Path) -> str:
    return sha256((package / MANIFEST_NAME).read_bytes()).hexdigest()


@contextmanager
def _central(folder: Path, packages: Sequence[Path]) -> Iterator[tuple[str, bytes, Sent]]:
    """Central's own routes over its own repository, without its database: nobody asks for a right here."""
    now = datetime.now(UTC)
    initialise_trust(folder / "trust", now)
    repository = open_repository(folder / "trust")
    for package in packages:
        repository.publish(package, _id(package), now)

    class Loop:
        def __init__(self) -> None:
            self.repository = repository

    class Services:
        loop = Loop()

    app, sent = FastAPI(), Sent()
    problems.install(app)
    app.include_router(tuf.router, prefix="/api/v1")
    app.state.services = Services()
    for dependency in tuf.router.dependencies:
        if dependency.dependency is not None:
            app.dependency_overrides[dependency.dependency] = lambda: None

    @app.middleware("http")
    async def count(request: Request, call_next: Callable[[Request], Any]) -> Any:
        response = await call_next(request)
        with sent.lock:
            sent.requests += 1
            if response.status_code in (200, 206):
                sent.body_bytes += int(response.headers["content-length"])
        return response

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield (
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            (repository.metadata_dir / "1.root.json").read_bytes(),
            sent,
        )
    finally:
        server.should_exit = True
        thread.join()


def _fetch(
    folder: Path,
    url: str,
    root: bytes,
    sent: Sent,
    *,
    package: Path,
    variants: Sequence[Variant],
    have: Sequence[Path],
) -> dict[str, Any]:
    into = Path(tempfile.mkdtemp(dir=folder))
    last = Transfer()

    def noted(transfer: Transfer) -> None:
        nonlocal last
        last = transfer

    # What a station has of the package before: the variants that it wanted, no others.
    kept = [_kept(folder, each, variants) for each in have]
    fetcher = TufPackageFetcher(
        url, "none", root=root, metadata_dir=into / "tuf", clock=SystemClock(), max_package_bytes=2**30
    )
    place = into / "package"
    place.mkdir()
    sent.take()
    try:
        fetcher.fetch(_id(package), "ring", place, lambda _: [*variants], lambda: False, have=kept, on_progress=noted)
    finally:
        fetcher.close()
    for path in place.iterdir():
        assert path.read_bytes() == (package / path.name).read_bytes()
    body_bytes, requests = sent.take()
    package_bytes = last.total_bytes + (place / MANIFEST_NAME).stat().st_size
    return {
        "package_bytes": package_bytes,
        "fetched_bytes": body_bytes,
        "manifest_bytes": (place / MANIFEST_NAME).stat().st_size,
        "of_files_bytes": last.received_bytes,
        "saved": round(1 - body_bytes / package_bytes, 4),
        "requests": requests,
    }


def _kept(folder: Path, package: Path, variants: Sequence[Variant]) -> Path:
    place = Path(tempfile.mkdtemp(dir=folder)) / "kept"
    shutil.copytree(package, place)
    for each in _VARIANTS:
        if each not in variants:
            (place / f"{each.value}.onnx").unlink()
    return place
