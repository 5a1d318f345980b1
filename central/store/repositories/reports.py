# SPDX-License-Identifier: Apache-2.0
"""Writes a batch of reports in one transaction: inspections, challengers, rollups, completeness, quarantine.

Idempotent: a report that is stored already changes nothing, not even the sums. Does not read messages and sends no
receipt; that is `services/ingest.py`, its only caller.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col

from central.store.embeddings import packed
from central.store.repositories import shadow, stations
from central.store.rollups import add_to_rollups
from central.store.tables import Inspection, Quarantine, Station, StationEpoch, columns_of
from central.store.upserts import add_up, insert_into
from contracts.ids import StationAddress
from contracts.reports import ImageMeasures, InspectionReported, StageLatency

_NO_LATENCY = dict.fromkeys(StageLatency.model_fields)
_NO_MEASURES = dict.fromkeys(ImageMeasures.model_fields)


@dataclass(frozen=True)
class Poison:
    """Bytes that could not be read. `sequence` is set when the rest of their message was readable."""

    topic: str
    payload: bytes
    error: str
    sequence: int | None = None


@dataclass(frozen=True)
class StationReports:
    """The readable content of one message."""

    station: StationAddress
    epoch: int
    reports: Sequence[InspectionReported] = ()
    poison: Sequence[Poison] = ()


@dataclass
class Stored:
    """What a transaction changed."""

    inserted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    station_ids: dict[str, int] = field(default_factory=dict)


def store_batch(
    session: Session, messages: Sequence[StationReports], poison: Sequence[Poison], now: datetime
) -> Stored:
    """Write everything. The caller's transaction decides whether it stays."""
    ids = stations.ensure(session, (str(message.station) for message in messages), now)
    rows: dict[tuple[int, int, int], dict[str, Any]] = {}
    reported = 0
    for message in messages:
        station_id = ids[str(message.station)]
        for report in message.reports:
            reported += 1
            rows.setdefault(
                (station_id, message.epoch, report.sequence), _inspection_row(station_id, message.epoch, report, now)
            )
    shadow.keep(session, _shadow_rows(messages, ids, now))
    inserted = _insert_inspections(session, rows)
    add_to_rollups(session, inserted)
    quarantined = _insert_quarantine(session, messages, poison, ids, now)
    _count_epochs(session, inserted, quarantined)
    for station_id, is_simulated in {row["station_id"]: row["is_simulated"] for row in rows.values()}.items():
        session.connection().execute(
            update(columns_of(Station))
            .where(col(Station.id) == station_id)
            .values(last_report_at=now, is_simulated=is_simulated)
        )
    return Stored(len(inserted), reported - len(inserted), len(quarantined), ids)


def _insert_inspections(session: Session, rows: Mapping[tuple[int, int, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Insert what is new and give back exactly that.

    Looking first and inserting then is safe because ingest transactions stand in line (`Database.begin` on SQLite,
    `serialize_ingest` on PostgreSQL), and far cheaper than asking for 500 rows back: psycopg alone would rewrite
    15,000 placeholders a batch. The unique key still guards, should anybody write past the line.
    """
    known = _known_keys(session, rows)
    new = [row for key, row in rows.items() if key not in known]
    if not new:
        return []
    keys = ["station_id", "epoch", "sequence"]
    statement = insert_into(session, Inspection).on_conflict_do_nothing(index_elements=keys)
    options = {"preserve_rowcount": True}
    written = session.connection().execute(statement, new, execution_options=options).rowcount
    if written != len(new):
        # Counted sums would be wrong: roll back and look again.
        msg = f"expected to insert {len(new)} inspections, the database took {written}"
        raise OperationalError(msg, None, RuntimeError("another writer was faster"))
    return new


def _known_keys(session: Session, keys: Iterable[tuple[int, int, int]]) -> set[tuple[int, int, int]]:
    by_epoch: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for station_id, epoch, sequence in keys:
        by_epoch[station_id, epoch].append(sequence)
    table = columns_of(Inspection)
    known: set[tuple[int, int, int]] = set()
    for (station_id, epoch), sequences in by_epoch.items():
        found = session.connection().execute(
            select(table.c.sequence).where(
                table.c.station_id == station_id, table.c.epoch == epoch, table.c.sequence.in_(sequences)
            )
        )
        known.update((station_id, epoch, sequence) for sequence in found.scalars())
    return known


def _insert_quarantine(
    session: Session,
    messages: Sequence[StationReports],
    poison: Sequence[Poison],
    ids: Mapping[str, int],
    now: datetime,
) -> list[dict[str, Any]]:
    rows = [_poison_row(item, None, None, now) for item in poison]
    rows += [
        _poison_row(item, ids[str(message.station)], message.epoch, now)
        for message in messages
        for item in message.poison
    ]
    if not rows:
        return []
    table = columns_of(Quarantine)
    answer = session.connection().execute(
        insert_into(session, Quarantine).on_conflict_do_nothing().returning(table.c.digest), rows
    )
    new = set(answer.scalars())
    return [row for row in {row["digest"]: row for row in rows}.values() if row["digest"] in new]


def _count_epochs(session: Session, inserted: Sequence[dict[str, Any]], quarantined: Sequence[dict[str, Any]]) -> None:
    counts: defaultdict[tuple[int, int], dict[str, int]] = defaultdict(
        lambda: {"stored": 0, "quarantined": 0, "highest": 0}
    )
    for name, rows in (("stored", inserted), ("quarantined", quarantined)):
        for row in rows:
            if row["sequence"] is None:
                continue
            count = counts[row["station_id"], row["epoch"]]
            count[name] += 1
            count["highest"] = max(count["highest"], row["sequence"])
    rows = [{"station_id": station_id, "epoch": epoch, **count} for (station_id, epoch), count in counts.items()]
    add_up(session, StationEpoch, rows, highest=("highest",))


def _shadow_rows(messages: Sequence[StationReports], ids: Mapping[str, int], now: datetime) -> Iterable[dict[str, Any]]:
    for message in messages:
        for report in message.reports:
            said = report.challenger
            if said is not None:
                yield {
                    "station_id": ids[str(message.station)],
                    "epoch": message.epoch,
                    "sequence": said.sequence,
                    "package_id": said.package_id,
                    "verdict": said.verdict,
                    "score": said.score,
                    "infer_ms": said.infer_ms,
                    "champion_infer_ms": said.champion_infer_ms,
                    "committed_at": now,
                }


def _inspection_row(station_id: int, epoch: int, report: InspectionReported, now: datetime) -> dict[str, Any]:
    latency, image = report.latency, report.image
    return {
        "station_id": station_id,
        "epoch": epoch,
        "sequence": report.sequence,
        "trigger_number": report.trigger_number,
        "part_id": report.part_id,
        "product": report.product,
        "captured_at": report.captured_at,
        "clock_error_s": report.clock_error_s,
        "committed_at": now,
        "verdict": report.verdict,
        "cause": report.cause,
        "score": report.score,
        "ok_limit": report.ok_limit,
        "ng_limit": report.ng_limit,
        "defect_class": report.defect_class,
        "package_id": report.package_id,
        "variant": None if report.variant is None else report.variant.value,
        "provider": report.provider,
        "disposition": report.disposition,
        "signal": report.signal,
        "image_fault": None if report.image_fault is None else report.image_fault.value,
        "recipe_version": report.recipe_version,
        **(_NO_LATENCY if latency is None else dict(latency)),
        **(_NO_MEASURES if image is None else dict(image)),
        "embedding": packed(report.embedding),
        "is_simulated": report.is_simulated,
    }


def _poison_row(poison: Poison, station_id: int | None, epoch: int | None, now: datetime) -> dict[str, Any]:
    origin = f"{poison.topic}\0{epoch if poison.sequence else None}\0{poison.sequence}\0".encode(errors="replace")
    digest = hashlib.sha256(origin + poison.payload).hexdigest()
    return {
        # PostgreSQL's text cannot hold NUL.
        "topic": poison.topic.replace("\0", "�"),
        "payload": poison.payload,
        "digest": digest,
        "error": poison.error.replace("\0", "�")[:4000],
        "received_at": now,
        "station_id": station_id if poison.sequence is not None else None,
        "epoch": epoch if poison.sequence is not None else None,
        "sequence": poison.sequence,
    }
