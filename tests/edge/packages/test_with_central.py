# SPDX-License-Identifier: Apache-2.0
"""Station and central mean the same by trust: central's own repository, keys and seals, the station's own rules."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from central.trust.assignments import seal_assignment
from central.trust.enrolment import ASSIGNMENT_KEY_FILE, ENROLMENT_FOLDER, ROOT_FILE, initialise_trust, open_repository
from central.trust.keys import KeyName, load_signer
from contracts.commands import AssignPackage, ProductAssignment
from contracts.vocabulary import Variant
from edge_agent.clock import SystemClock
from edge_agent.packages.fetch import TufPackageFetcher
from edge_agent.packages.trust import judge_assignment, load_assignment_key, open_envelope
from tests.edge.packages.conftest import STATION
from tests.fakes.package_server import TOKEN, PackageServer
from tests.fakes.packages import build_package


def test_station_takes_what_central_publishes_and_assigns(tmp_path: Path, server: PackageServer) -> None:
    now = datetime.now(UTC)
    trust = tmp_path / "trust"
    initialise_trust(trust, now)
    package = build_package(tmp_path / "built")
    open_repository(trust).publish(package.folder, package.package_id, now)
    # The same layout: let the test's server hand out central's files.
    server._folder = trust / "tuf"

    assignment = AssignPackage(
        station=STATION,
        number=1,
        issued_at=now,
        expires_at=now + timedelta(days=1),
        packages=[ProductAssignment(product="ring", package_id=package.package_id)],
    )
    sealed = seal_assignment(assignment, load_signer(trust / "keys", KeyName.ASSIGNMENT))
    key = load_assignment_key((trust / ENROLMENT_FOLDER / ASSIGNMENT_KEY_FILE).read_bytes())
    opened = open_envelope(sealed, key)
    assert judge_assignment(opened, station=STATION, last=None, last_number=0, now=now)

    fetcher = TufPackageFetcher(
        server.url,
        TOKEN,
        root=(trust / ENROLMENT_FOLDER / ROOT_FILE).read_bytes(),
        metadata_dir=tmp_path / "station" / "tuf",
        clock=SystemClock(),
        max_package_bytes=10**7,
    )
    (tmp_path / "into").mkdir()
    choose = [Variant.FP32]
    found = fetcher.fetch(package.package_id, "ring", tmp_path / "into", lambda _: choose, lambda: False)
    fetcher.close()
    assert found == package.manifest
