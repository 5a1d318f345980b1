# SPDX-License-Identifier: Apache-2.0
"""Packages of every format that there was are published by today's central and judge at today's station."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from central.trust.enrolment import initialise_trust, open_repository
from contracts import codec
from contracts.manifest import MANIFEST_NAME, PackageManifest
from models.packages.reading import open_package
from tests.edge.packages.conftest import Bench
from tests.fakes.package_server import PackageServer
from tests.fakes.packages import BuiltPackage

STORED = sorted((Path(__file__).parent / "packages").iterdir())


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[PackageServer]:
    with PackageServer(tmp_path / "server") as running:
        yield running


@pytest.fixture(name="bench")
def _bench(tmp_path: Path, server: PackageServer) -> Iterator[Bench]:
    made = Bench(tmp_path / "station", server)
    yield made
    made.close()


@pytest.fixture(name="package", params=STORED, ids=lambda path: path.name)
def _package(request: pytest.FixtureRequest) -> BuiltPackage:
    folder: Path = request.param
    content = (folder / MANIFEST_NAME).read_bytes()
    return BuiltPackage(hashlib.sha256(content).hexdigest(), folder, codec.decode(PackageManifest, content))


def test_stored_package_judges_at_a_station(bench: Bench, package: BuiltPackage) -> None:
    bench.server.publish(package)
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_active(package)
    loaded = bench.slots.active("ring")
    assert loaded is not None
    with np.load(package.folder / "golden.npz") as golden:
        assert loaded.session.run(golden["images"][0]).score == pytest.approx(float(golden["score_fp32"][0]), rel=1e-4)


def test_stored_package_is_published_by_central(tmp_path: Path, package: BuiltPackage) -> None:
    now = datetime.now(UTC)
    initialise_trust(tmp_path / "trust", now)
    repository = open_repository(tmp_path / "trust")
    repository.publish(package.folder, package.package_id, now)
    assert repository.has(package.package_id)


def test_trainer_reads_a_stored_package(package: BuiltPackage) -> None:
    assert open_package(package.folder).manifest == package.manifest
