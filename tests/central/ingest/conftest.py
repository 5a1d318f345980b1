# SPDX-License-Identifier: Apache-2.0
"""Ingest on a database of both kinds, fed by hand; and what it wrote, counted from the rows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from sqlmodel import select

from central.messaging.gateway import Delivery
from central.services.ingest import IngestService
from central.settings import IngestSettings
from central.store.database import Database
from central.store.tables import Inspection, RollupMinute
from contracts.codec import decode, encode
from contracts.commands import ReportsCommitted
from contracts.ids import StationAddress
from contracts.reports import InspectionReported, InspectionsReported
from contracts.topics import Channel, parse_topic, topic
from tests.central.conftest import STATION, RememberingPublisher, StillClock

EPOCH = 1_700_000_000_000


@dataclass
class Bench:
    """An ingest service without threads: `send`, then `work`."""

    database: Database
    publisher: RememberingPublisher
    service: IngestService
    acknowledged: list[int] = field(default_factory=list)
    sent: int = 0

    def send(
        self, reports: Iterable[InspectionReported], *, epoch: int = EPOCH, station: StationAddress = STATION
    ) -> None:
        message = InspectionsReported(station=station, epoch=epoch, reports=list(reports))
        self.send_bytes(topic(station, Channel.REPORT), encode(message))

    def send_bytes(self, name: str, payload: bytes, *, is_retained: bool = False) -> None:
        number = self.sent
        self.sent += 1
        self.service.on_delivery(
            Delivery(name, payload, is_retained=is_retained, acknowledge=lambda: self.acknowledged.append(number))
        )

    def work(self) -> None:
        while self.service.ingest_waiting():
            pass

    def receipts(self) -> list[ReportsCommitted]:
        return [
            decode(ReportsCommitted, payload)
            for name, payload in self.publisher.sent
            if parse_topic(name)[1] is Channel.RECEIPT
        ]

    def receipted(self, *, quarantined: bool = False) -> list[int]:
        """Every sequence named in a receipt, once for each time."""
        found: list[int] = []
        for receipt in self.receipts():
            for item in receipt.quarantined if quarantined else receipt.ranges:
                found.extend(range(item.first, item.last + 1))
        return sorted(found)

    def stored(self) -> list[int]:
        with self.database.read() as session:
            return sorted(session.exec(select(Inspection.sequence)).all())

    def rollup_parts(self) -> int:
        with self.database.read() as session:
            return sum(session.exec(select(RollupMinute.parts)).all())


@pytest.fixture(name="make_bench")
def _make_bench(database: Database, publisher: RememberingPublisher, clock: StillClock) -> Callable[..., Bench]:
    def make(settings: IngestSettings | None = None) -> Bench:
        service = IngestService(database, publisher, settings or IngestSettings(batch_wait_ms=1), clock)
        return Bench(database, publisher, service)

    return make


@pytest.fixture(name="bench")
def _bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()
