# SPDX-License-Identifier: Apache-2.0
"""Gathers the counters of all parts, for `/admin/counters` and `/metrics`. Counts nothing itself."""

from collections.abc import Iterator
from dataclasses import asdict

from sqlalchemy import func
from sqlmodel import col, select

from central.api.schemas import ServiceCounters
from central.foundation import Services
from central.store.repositories import alarm_routes, stations
from central.store.tables import Evidence, Quarantine


def service_counters(services: Services) -> ServiceCounters:
    """Ingest since start, and what the tables hold."""
    with services.database.read() as session:
        files, total_bytes = session.exec(
            select(func.count(), func.coalesce(func.sum(Evidence.size_bytes), 0)).where(
                col(Evidence.stored_at).is_not(None)
            )
        ).one()
        quarantined = session.exec(select(func.count()).select_from(Quarantine)).one()
        inspections = sum(stored for stored, _ in stations.missing_sequences(session).values())
    counts = services.ingest.counts
    return ServiceCounters(
        inspections=inspections,
        duplicates_ignored=counts.duplicates_ignored,
        quarantined=quarantined,
        receipts_sent=counts.receipts_sent,
        batches=counts.batches,
        evidence_files=files,
        evidence_bytes=total_bytes,
        since=services.started_at,
    )


def samples(services: Services) -> Iterator[tuple[str, str, dict[str, str], float]]:
    """(name, kind, labels, value) of every figure, in Prometheus' words; all of one name together."""
    parts = (
        ("ingest", services.ingest.counts),
        ("evidence", services.evidence.counts),
        ("gateway", services.gateway.counts),
    )
    for part, counts in parts:
        for name, value in asdict(counts).items():
            yield f"{part}_{name}_total", "counter", {}, value
    yield "ingest_turned_away_total", "counter", {}, services.ingest.inbox.turned_away
    yield "ingest_queue_messages", "gauge", {}, len(services.ingest.inbox)
    yield "broker_connected", "gauge", {}, float(services.gateway.is_connected)
    yield "broker_shared_subscription", "gauge", {}, float(services.gateway.is_shared)
    ticks = services.worker.counts if services.worker is not None else {}
    for name in sorted(ticks):
        yield "service_ticks_total", "counter", {"service": name}, ticks[name].ticks
    for name in sorted(ticks):
        yield "service_failures_total", "counter", {"service": name}, ticks[name].failures
    for name in sorted(ticks):
        yield "service_tick_seconds", "gauge", {"service": name}, ticks[name].last_s
    yield from _routes(services)
    with services.database.read() as session:
        rows = stations.list_all(session)
        counts_by_id = stations.missing_sequences(session)
    for row in rows:
        yield "station_inspections_stored", "gauge", {"station": row.address}, counts_by_id.get(row.id or 0, (0, 0))[0]
    for row in rows:
        yield "station_sequences_missing", "gauge", {"station": row.address}, counts_by_id.get(row.id or 0, (0, 0))[1]


def _routes(services: Services) -> Iterator[tuple[str, str, dict[str, str], float]]:
    """Whether alarms reach people: a route that fails cannot tell of itself."""
    with services.database.read() as session:
        rows, waiting = alarm_routes.routes(session), alarm_routes.undelivered(session)
    for row in rows:
        yield "alarm_route_failing", "gauge", {"route": row.name}, float(row.failing_since is not None)
    for row in rows:
        yield "alarm_route_undelivered", "gauge", {"route": row.name}, sum(waiting.get(row.name, {}).values())
    for row in rows:
        yield "alarm_route_unsaid", "gauge", {"route": row.name}, row.unsaid
