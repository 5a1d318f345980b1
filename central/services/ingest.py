# SPDX-License-Identifier: Apache-2.0
"""Messages of stations into the database: read, store in batches, commit, acknowledge, send receipts. In this order.

A receipt names exactly what is durable, duplicates included, so a station may send a report as often as it likes.
What cannot be read is quarantined with its error, and the loop goes on. While the database is away nothing is
acknowledged and nothing is thrown away. Judges nothing. Fed by the gateway, one writer thread of its own.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from central.clock import Clock
from central.messaging.gateway import Delivery, Publisher
from central.services.inbox import Inbox
from central.services.reading import check_sender, read_reports, to_ranges, without
from central.settings import IngestSettings
from central.store.database import Database
from central.store.repositories import stations
from central.store.repositories.reports import Poison, StationReports, Stored, store_batch
from contracts.codec import CodecError, decode, encode
from contracts.commands import ReportsCommitted
from contracts.reports import InspectionReported, PackageStatus, StationReported
from contracts.topics import Channel, topic

log = logging.getLogger(__name__)

# Each says all; the next one on the topic replaces it.
_STATUSES: Final = tuple(f"/{channel.value}" for channel in (Channel.STATUS, Channel.PACKAGE_STATUS))
_IDLE_S: Final = 0.2
_RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class IngestCounts:
    """Since start."""

    batches: int = 0
    inspections: int = 0
    duplicates_ignored: int = 0
    quarantined: int = 0
    receipts_sent: int = 0
    receipts_dropped: int = 0
    statuses: int = 0
    # Package statuses under a number that central never gave.
    contradictions: int = 0
    database_retries: int = 0


@dataclass
class _Batch:
    """Deliveries that will be committed together."""

    deliveries: list[Delivery] = field(default_factory=list)
    messages: list[tuple[str, StationReports]] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    # With whether the broker had kept it.
    statuses: dict[str, tuple[StationReported, bool]] = field(default_factory=dict)
    package_statuses: dict[str, PackageStatus] = field(default_factory=dict)
    rows: int = 0


class IngestService:
    """See the module. `on_delivery` is the gateway's handler for all three channels."""

    def __init__(self, database: Database, gateway: Publisher, settings: IngestSettings, clock: Clock) -> None:
        self._database: Final = database
        self._gateway: Final = gateway
        self._settings: Final = settings
        self._clock: Final = clock
        self.inbox: Final = Inbox(settings.queue_messages, settings.queue_bytes)
        self.counts: Final = IngestCounts()
        self._stopping: Final = threading.Event()
        self._thread: threading.Thread | None = None

    def on_delivery(self, delivery: Delivery) -> None:
        """Take a message off the network thread."""
        is_taken = self.inbox.put(delivery, is_state=delivery.topic.endswith(_STATUSES))
        if not is_taken and self.inbox.turned_away % 100 == 1:
            log.warning("ingest queue full topic=%s turned_away=%s", delivery.topic, self.inbox.turned_away)

    def start(self) -> None:
        """Start writing."""
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop after the running transaction. What is still queued was not acknowledged and comes again."""
        self._stopping.set()
        self.inbox.close()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def ingest_waiting(self, wait_s: float = 0.0) -> bool:
        """Gather one batch and store it; False: nothing was waiting."""
        batch = self._gather(wait_s)
        if batch is None:
            return False
        while not self._store(batch):
            if self._stopping.is_set():
                return False
        for delivery in batch.deliveries:
            delivery.acknowledge()
        self.inbox.release_held()
        self._send_receipts(batch)
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.ingest_waiting(_IDLE_S)
                self.inbox.release_held()
            except Exception:
                # Unacknowledged and without receipt, the same reports come again.
                log.exception("ingest failed unexpectedly")
                self._stopping.wait(1.0)

    def _gather(self, wait_s: float) -> _Batch | None:
        first = self.inbox.take(wait_s)
        if first is None:
            return None
        batch = _Batch()
        self._read_into(batch, first)
        deadline = time.monotonic() + self._settings.batch_wait_ms / 1000
        while batch.rows < self._settings.batch_rows:
            left_s = deadline - time.monotonic()
            delivery = self.inbox.take(max(left_s, 0.0)) if left_s > 0 else None
            if delivery is None:
                break
            self._read_into(batch, delivery)
        return batch

    def _read_into(self, batch: _Batch, delivery: Delivery) -> None:
        batch.deliveries.append(delivery)
        # A message without reports counts too, so that a flood of them cannot grow a batch without end.
        batch.rows += 1
        try:
            if delivery.topic.endswith(f"/{Channel.STATUS.value}"):
                status = decode(StationReported, delivery.payload)
                check_sender(delivery.topic, status.station)
                batch.statuses[str(status.station)] = status, delivery.is_retained
            elif delivery.topic.endswith(f"/{Channel.PACKAGE_STATUS.value}"):
                package_status = decode(PackageStatus, delivery.payload)
                check_sender(delivery.topic, package_status.station)
                batch.package_statuses[str(package_status.station)] = package_status
            else:
                read = read_reports(delivery.topic, delivery.payload)
                batch.messages.append((delivery.topic, read))
                batch.rows += len(read.reports) + len(read.poison) - 1
        except (CodecError, ArithmeticError, ValueError) as error:
            # Whatever one message holds must not hold up those that were gathered with it.
            log.warning("message quarantined topic=%s error=%s", delivery.topic, error)
            batch.poison.append(Poison(delivery.topic, delivery.payload, str(error)))

    def _store(self, batch: _Batch) -> bool:
        """Commit the batch; False: the database is away, try again."""
        attempt = 0
        is_sifted = False
        while True:
            try:
                self._commit(batch)
            except (OperationalError, InterfaceError) as error:
                # Locked, full or gone: nothing is wrong with the reports. Keep them, unacknowledged.
                wait_s = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
                attempt += 1
                self.counts.database_retries += 1
                log.warning("database refused the batch rows=%s retry_in_s=%s error=%s", batch.rows, wait_s, error.orig)
                if self._stopping.wait(wait_s):
                    return False
            except (SQLAlchemyError, ValueError) as error:
                log.warning("batch holds something the database cannot store rows=%s error=%s", batch.rows, error)
                if is_sifted:
                    _set_all_aside(batch, error)
                else:
                    self._set_refused_aside(batch)
                is_sifted = True
            else:
                return True

    def _commit(self, batch: _Batch) -> None:
        now = self._clock.now()
        with self._database.begin() as session:
            self._database.serialize_ingest(session)
            stored = store_batch(session, [read for _, read in batch.messages], batch.poison, now)
            stations.keep_statuses(session, list(batch.statuses.values()), now)
            told = {each.station: encode(each).decode() for each in batch.package_statuses.values()}
            stations.keep_package_statuses(session, told, now)
            named = {address: each.assignment_number for address, each in batch.package_statuses.items()}
            strange = stations.beyond_given(session, named)
        self._count(batch, stored)
        for address, given in strange.items():
            self.counts.contradictions += 1
            log.warning(
                "security: station names an assignment that nobody gave it, so its word on it counts for nothing "
                "station=%s named=%d given=%d",
                address,
                named[address],
                given,
            )

    def _count(self, batch: _Batch, stored: Stored) -> None:
        self.counts.batches += 1
        self.counts.inspections += stored.inserted
        self.counts.duplicates_ignored += stored.duplicates
        self.counts.quarantined += stored.quarantined
        self.counts.statuses += len(batch.statuses) + len(batch.package_statuses)

    def _set_refused_aside(self, batch: _Batch) -> None:
        """Find the reports that the database refuses by trying each alone, rolled back; move them to the quarantine."""
        batch.messages = [
            (origin, without(read, origin, self._refused(read, read.reports))) for origin, read in batch.messages
        ]

    def _refused(
        self, read: StationReports, reports: Sequence[InspectionReported]
    ) -> list[tuple[InspectionReported, str]]:
        try:
            with self._database.begin() as session:
                store_batch(session, [StationReports(read.station, read.epoch, reports)], [], self._clock.now())
                session.rollback()
        except (OperationalError, InterfaceError):
            raise
        except (SQLAlchemyError, ValueError) as error:
            if len(reports) == 1:
                return [(reports[0], str(error).splitlines()[0])]
            half = len(reports) // 2
            return self._refused(read, reports[:half]) + self._refused(read, reports[half:])
        return []

    def _send_receipts(self, batch: _Batch) -> None:
        stored: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        aside: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        addresses = {}
        for _, read in batch.messages:
            key = (str(read.station), read.epoch)
            addresses[key] = read.station
            stored[key].update(report.sequence for report in read.reports)
            aside[key].update(item.sequence for item in read.poison if item.sequence is not None)
        now = self._clock.now()
        for key, station in addresses.items():
            if not stored[key] and not aside[key]:
                continue
            receipt = ReportsCommitted(
                station=station,
                epoch=key[1],
                ranges=to_ranges(stored[key]),
                quarantined=to_ranges(aside[key]),
                committed_at=now,
            )
            if self._gateway.publish(topic(station, Channel.RECEIPT), encode(receipt)):
                self.counts.receipts_sent += 1
            else:
                # The station asks again by sending again.
                self.counts.receipts_dropped += 1


def _set_all_aside(batch: _Batch, error: Exception) -> None:
    """Last resort: what still cannot be stored goes to the quarantine as it came, without receipt."""
    reason = f"refused by the database: {str(error).splitlines()[0]}"
    batch.poison = [Poison(delivery.topic, delivery.payload, reason) for delivery in batch.deliveries]
    batch.messages, batch.statuses, batch.package_statuses = [], {}, {}
