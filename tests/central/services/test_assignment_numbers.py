# SPDX-License-Identifier: Apache-2.0
"""A station that names numbers nobody gave it moves no number of ours, and stops nothing."""

import json
import logging
from datetime import timedelta
from pathlib import Path

import pytest

from central.api.views import sync_word
from central.messaging.gateway import Delivery
from central.services.ingest import IngestService
from central.services.rollouts.assigning import package_status_of
from central.services.rollouts.state import state_of
from central.settings import IngestSettings
from central.store.repositories import stations
from central.store.repositories.station_words import next_number
from contracts.codec import encode
from contracts.reports import PackageProgress, PackageStatus
from contracts.topics import Channel, topic
from contracts.vocabulary import PackageState, RolloutState
from tests.central.conftest import START
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import OK, line

CLOCK = int(START.timestamp())


@pytest.mark.parametrize(
    ("given", "named", "expected"),
    [
        (7, 0, 8),
        (7, 7, 8),
        # A restored backup: on from the clock, whatever the station names.
        (7, 8, CLOCK),
        (7, 40, CLOCK),
        (7, CLOCK - 1, CLOCK),
        # Nobody can have given these.
        (7, CLOCK, 8),
        (7, 2**53, 8),
        (7, 2**63 - 1, 8),
        # Once on the clock it goes on by one.
        (CLOCK, CLOCK, CLOCK + 1),
    ],
)
def test_next_number_is_above_all_given_and_led_by_no_station(given: int, named: int, expected: int) -> None:
    assert next_number(given, named, START) == expected
    assert next_number(given, named, START + timedelta(seconds=1)) > given


def store_as_it_is(bench: Bench, station: FakeStation, number: int, package_id: str | None = None) -> None:
    """What an earlier version of central took in, numbers without bounds included."""
    now = bench.clock.now().isoformat()
    rows = [] if package_id is None else [{"product": PRODUCT, "package_id": package_id, "state": "ACTIVE", "at": now}]
    said = {
        "station": station.address.model_dump(),
        "assignment_number": number,
        "at": now,
        "packages": rows,
    }
    with bench.database.begin() as session:
        stations.keep_package_status(session, station.address, json.dumps(said), bench.clock.now())


@pytest.mark.parametrize("number", [2**53, 2**63 - 1, 10**30])
def test_huge_number_of_one_station_stops_no_rollout_and_no_abort(bench: Bench, tmp_path: Path, number: int) -> None:
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    package = bench.register(2, tmp_path, champion=champion)
    store_as_it_is(bench, first, number)
    bench.tick(2)
    assert first.running[PRODUCT] == package
    store_as_it_is(bench, second, number)
    bench.report(first, [OK] * 20)
    bench.tick(3)
    assert second.running[PRODUCT] == package
    store_as_it_is(bench, second, number)
    bench.rollouts.abort(bench.rollout().id or 0, "anna", bench.clock.now())
    bench.tick(2)
    assert [each.running[PRODUCT] for each in (first, second)] == [champion, champion]
    assert first.assignments[-1].number < 10


def test_active_under_a_number_nobody_gave_is_no_proof(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    first.installs = False
    package = bench.register(2, tmp_path, champion=champion)
    bench.tick(1)
    given = first.assignments[-1].number
    store_as_it_is(bench, first, given + 1, package)
    bench.tick(3)
    step = state_of(bench.rollout()).waves[0].stations[0]
    assert step.progress.value == "ASSIGNED"
    with bench.database.read() as session:
        row = stations.find(session, str(first.address))
    assert row is not None
    assert sync_word(row.assignment_number, row.assigned, package_status_of(row)) == "ERROR"
    store_as_it_is(bench, first, given, package)
    bench.tick(1)
    assert state_of(bench.rollout()).waves[0].stations[0].progress.value == "BAKING"
    assert bench.rollout().state is RolloutState.RUNNING


def test_number_nobody_gave_is_logged_and_counted(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    ingest = IngestService(bench.database, bench.publisher, IngestSettings(), bench.clock)
    with caplog.at_level(logging.WARNING, "central.services.ingest"):
        for number in (first.assignments[-1].number, first.assignments[-1].number + 5):
            row = PackageProgress(product=PRODUCT, package_id=champion, state=PackageState.ACTIVE, at=bench.clock.now())
            said = PackageStatus(station=first.address, assignment_number=number, at=bench.clock.now(), packages=[row])
            ingest.on_delivery(
                Delivery(
                    topic(first.address, Channel.PACKAGE_STATUS),
                    encode(said),
                    is_retained=False,
                    acknowledge=lambda: None,
                )
            )
            assert ingest.ingest_waiting()
    expected = (
        "security: station names an assignment that nobody gave it, so its word on it counts for nothing "
        "station=plant/line-1/st-1 named=6 given=1"
    )
    assert ingest.counts.contradictions == 1
    assert [each.getMessage() for each in caplog.records if "security" in each.getMessage()] == [expected]
