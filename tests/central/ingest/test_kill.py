# SPDX-License-Identifier: Apache-2.0
"""SIGKILL in the middle of a stream of reports, with real brokers: nothing lost, nothing twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from central.store.database import Database
from contracts.vocabulary import Verdict
from plant.processes.broker import BrokerKind, BrokerPlan, find_mosquitto
from tests.central.conftest import START, STATION, make_report
from tests.central.ingest.brokers import CentralProcess, StationClient, start_broker
from tests.central.ingest.conftest import EPOCH
from tests.central.postgres import Cluster

REPORTS = 20_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Line:
    plan: BrokerPlan
    central: CentralProcess
    database_url: str


@pytest.fixture(
    name="line",
    params=[
        pytest.param(("mosquitto", "sqlite"), marks=pytest.mark.broker, id="mosquitto-sqlite"),
        pytest.param(("amqtt", "sqlite"), id="amqtt-sqlite"),
        pytest.param(
            ("mosquitto", "postgresql"), marks=[pytest.mark.broker, pytest.mark.postgres], id="mosquitto-postgresql"
        ),
    ],
)
def _line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    kind, database = BrokerKind(request.param[0]), request.param[1]
    if kind is BrokerKind.MOSQUITTO and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    url = None
    if database == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.new_database(is_migrated=False)
    plan, broker = start_broker(kind, tmp_path)
    central = CentralProcess(tmp_path, plan, url)
    yield Line(plan, central, url or f"sqlite:///{tmp_path / 'central' / 'central.db'}")
    central.kill()
    broker.kill()


def test_kill_in_the_middle_of_a_stream_loses_nothing_and_counts_nothing_twice(line: Line) -> None:
    verdicts = list(Verdict)
    reports = [
        make_report(number, verdicts[number % 4], captured_at=START + timedelta(milliseconds=30 * number))
        for number in range(1, REPORTS + 1)
    ]
    line.central.start()
    station = StationClient(line.plan, STATION, EPOCH, reports)
    database = Database(line.database_url)
    try:
        for share in (0.2, 0.6):
            # A kill lands anywhere between reading, commit, acknowledgement and receipt.
            station.wait_for_receipts(int(REPORTS * share))
            line.central.kill()
            line.central.start()
        station.wait_for_receipts(REPORTS)
        with database.read() as session:
            run = session.connection().exec_driver_sql
            rows = run("SELECT count(*), count(DISTINCT sequence), min(sequence), max(sequence) FROM inspection").one()
            verdict_counts = run("SELECT verdict, count(*) FROM inspection GROUP BY verdict")
            by_verdict = {row[0]: row[1] for row in verdict_counts}
            rollup = run("SELECT sum(parts), sum(ok), sum(ng), sum(review), sum(no_decision) FROM rollup_minute").one()
            (latencies,) = run("SELECT sum(parts) FROM rollup_latency").one()
            complete = run("SELECT sum(stored), sum(highest), sum(quarantined) FROM station_epoch").one()
    finally:
        station.close()
        database.close()
    assert tuple(rows) == (REPORTS, REPORTS, 1, REPORTS)
    assert tuple(rollup) == (REPORTS, *(by_verdict[verdict.value] for verdict in verdicts))
    assert latencies == REPORTS
    assert tuple(complete) == (REPORTS, REPORTS, 0)
    assert set(station.receipted) == set(range(1, REPORTS + 1))
