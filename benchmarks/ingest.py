# SPDX-License-Identifier: Apache-2.0
"""Why central stores reports in batches: rows per second of ingest, batched against one row a commit.

Both run central's own ingest on a fresh SQLite file in the same run, with the same reports, from the message
bytes to the receipt; only the broker is left out. The ratio travels between machines, the rows do not.
"""

import statistics
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from central.clock import SystemClock
from central.messaging.gateway import Delivery
from central.services.ingest import IngestService
from central.settings import IngestSettings
from central.store.database import Database
from central.store.schema import migrate
from contracts.codec import encode
from contracts.ids import StationAddress
from contracts.reports import InspectionReported, InspectionsReported, StageLatency
from contracts.topics import Channel, topic
from contracts.vocabulary import Disposition, SignalState, Verdict, VerdictCause

_STATION: Final = StationAddress(site="bench", line="line-1", station="st-1")
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_REPEATS: Final = 3


class _Silent:
    """Takes receipts and drops them."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        del topic, payload, qos, retain
        return True


def _report(sequence: int) -> InspectionReported:
    return InspectionReported(
        sequence=sequence,
        trigger_number=sequence,
        part_id=f"part-{sequence}",
        product="ring",
        captured_at=_START + timedelta(milliseconds=70 * sequence),
        verdict=Verdict.OK,
        cause=VerdictCause.SCORE,
        score=0.31,
        ok_limit=0.5,
        ng_limit=0.7,
        package_id="a" * 64,
        provider="CPUExecutionProvider",
        disposition=Disposition.PASSED,
        signal=SignalState.SENT,
        latency=StageLatency(verdict_ms=12.5, reject_ms=12.9),
        is_simulated=True,
    )


def _deliveries(rows: int, per_message: int) -> list[Delivery]:
    found = []
    for first in range(1, rows + 1, per_message):
        reports = [_report(sequence) for sequence in range(first, min(first + per_message, rows + 1))]
        payload = encode(InspectionsReported(station=_STATION, epoch=1, reports=reports))
        found.append(Delivery(topic(_STATION, Channel.REPORT), payload, is_retained=False, acknowledge=lambda: None))
    return found


def _rows_per_s(rows: int, *, batch_rows: int, per_message: int) -> float:
    deliveries = _deliveries(rows, per_message)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'central.db'}")
        migrate(database)
        settings = IngestSettings(batch_rows=batch_rows, queue_messages=len(deliveries) + 1)
        ingest = IngestService(database, _Silent(), settings, SystemClock())
        for delivery in deliveries:
            ingest.on_delivery(delivery)
        began = perf_counter()
        while ingest.counts.inspections < rows:
            if not ingest.ingest_waiting():
                break
        took = perf_counter() - began
        assert ingest.counts.inspections == rows, ingest.counts
        database.close()
    return rows / took


def run() -> dict[str, Any]:
    """Median rows per second of three runs each."""

    def median(rows: int, **how: int) -> float:
        return statistics.median(_rows_per_s(rows, **how) for _ in range(_REPEATS))

    live = median(5_000, batch_rows=500, per_message=1)
    backlog = median(10_000, batch_rows=500, per_message=500)
    single = median(300, batch_rows=1, per_message=1)
    return {
        "live_batched_rows_per_s": round(live),
        "backlog_batched_rows_per_s": round(backlog),
        "one_row_a_commit_rows_per_s": round(single),
        "live_over_single": round(live / single, 1),
        "backlog_over_single": round(backlog / single, 1),
        "repeats": _REPEATS,
    }
