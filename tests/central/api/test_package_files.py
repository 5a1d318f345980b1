# SPDX-License-Identifier: Apache-2.0
"""Central serves package files in ranges, and a real station makes use of it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from central.store.learning_tables import Package
from central.trust.enrolment import ENROLMENT_FOLDER, ROOT_FILE
from contracts import codec
from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import Role, Variant
from edge_agent.clock import SystemClock
from edge_agent.packages.fetch import Interrupted, TufPackageFetcher
from tests.central.api.conftest import Api
from tests.fakes.packages import BuiltPackage, build_package, weighted_graph

P = "/api/v1"
STORED = sorted((Path(__file__).parents[2] / "compat" / "packages").iterdir())
RNG = np.random.default_rng(2)
TRUNK = RNG.normal(size=(100, 1000)).astype(np.float32)


def published(api: Api, folder: Path, **more: bool) -> BuiltPackage:
    tensors = {"trunk": TRUNK, "bank": RNG.normal(size=(50, 400)).astype(np.float32)}
    package = build_package(folder, graphs={Variant.FP32: weighted_graph(tensors)}, **more)  # type: ignore[arg-type]
    api.services.loop.repository.publish(package.folder, package.package_id, SystemClock().now())
    return package


def test_a_range_of_a_package_file_is_that_part_of_it(api: Api, tmp_path: Path) -> None:
    package = published(api, tmp_path / "package")
    station = api.as_(Role.STATION)
    content = (package.folder / "fp32.onnx").read_bytes()
    url = f"{P}/tuf/targets/{package.package_id}/fp32.onnx"
    whole = station.get(url)
    assert (whole.status_code, whole.content) == (200, content)
    part = station.get(url, headers={"Range": "bytes=1000-1999", "If-Range": whole.headers["ETag"]})
    assert (part.status_code, part.content) == (206, content[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(content)}"
    other = station.get(url, headers={"Range": "bytes=1000-1999", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, content)
    assert station.get(url, headers={"Range": f"bytes={len(content)}-"}).status_code == 416


def test_tag_of_a_package_file_is_the_same_at_every_central(api: Api, tmp_path: Path) -> None:
    package = published(api, tmp_path / "package")
    station = api.as_(Role.STATION)
    url = f"{P}/tuf/targets/{package.package_id}/fp32.onnx"
    before = station.get(url).headers["ETag"]
    (api.services.loop.repository.targets_dir / package.package_id / "fp32.onnx").touch()
    assert station.get(url).headers["ETag"] == before
    assert before != station.get(f"{P}/tuf/targets/{package.package_id}/golden.npz").headers["ETag"]


@pytest.mark.parametrize("has_chunks", [True, False])
def test_station_goes_on_with_a_download_from_a_real_central(api: Api, tmp_path: Path, has_chunks: bool) -> None:
    old = published(api, tmp_path / "old", has_chunks=has_chunks)
    new = published(api, tmp_path / "new", has_chunks=has_chunks)
    url = str(api.as_(Role.STATION).base_url)
    token = api.as_(Role.STATION).headers["Authorization"].removeprefix("Bearer ")
    root = (Path(api.services.settings.data_dir) / "trust" / ENROLMENT_FOLDER / ROOT_FILE).read_bytes()
    into = tmp_path / "into"
    into.mkdir()
    received: list[int] = []

    def fetch(*, stops_at: float, have: list[Path]) -> None:
        fetcher = TufPackageFetcher(
            url, token, root=root, metadata_dir=tmp_path / "tuf", clock=SystemClock(), max_package_bytes=10**7
        )
        received.clear()
        try:
            fetcher.fetch(
                new.package_id,
                "ring",
                into,
                lambda _: [Variant.FP32],
                lambda: bool(received) and received[-1] > stops_at,
                have=have,
                on_progress=lambda transfer: received.append(transfer.received_bytes),
            )
        finally:
            fetcher.close()

    with pytest.raises(Interrupted):
        fetch(stops_at=150_000, have=[])
    size = (new.folder / "fp32.onnx").stat().st_size
    golden = (new.folder / "golden.npz").stat().st_size
    fetch(stops_at=float("inf"), have=[])
    first = received[-1]
    assert first < size + golden - 100_000
    assert (into / "fp32.onnx").read_bytes() == (new.folder / "fp32.onnx").read_bytes()
    for path in into.iterdir():
        path.unlink()
    fetch(stops_at=float("inf"), have=[old.folder])
    assert (into / "fp32.onnx").read_bytes() == (new.folder / "fp32.onnx").read_bytes()
    # The golden set is the same file; of the graph the bank alone is new.
    assert received[-1] < 50 * 400 * 4 + 3000 if has_chunks else received[-1] == size


@pytest.mark.parametrize("folder", STORED, ids=lambda folder: folder.name)
def test_stored_package_of_any_format_stays_in_the_registry(api: Api, folder: Path) -> None:
    content = (folder / MANIFEST_NAME).read_bytes()
    manifest, package_id = codec.decode(PackageManifest, content), hashlib.sha256(content).hexdigest()
    with api.services.database.begin() as session:
        session.add(
            Package(
                package_id=package_id,
                product="ring",
                detector=manifest.detector,
                created_at=manifest.created_at,
                registered_at=api.clock.now(),
                size_bytes=1,
                manifest=content.decode(),
                is_simulated=True,
            )
        )
    view = api.as_(Role.VIEWER).get(f"{P}/packages/{package_id}")
    assert view.status_code == 200
    assert view.json()["manifest"]["limits"]["ng_limit"] == manifest.limits.ng_limit
    # Chunks are for stations; lists of packages are asked for every few seconds.
    assert not any(file["chunks"] for file in view.json()["manifest"]["files"])
