# SPDX-License-Identifier: Apache-2.0
"""Stored inspections: pages of them, one by its id, counts. Read only; writing is `reports.py`. Called by the API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from central.store.repositories import evidence
from central.store.tables import Evidence, Inspection, Station
from contracts.vocabulary import Verdict


@dataclass(frozen=True)
class InspectionFilter:
    """What to show; None: everything. Times are those of capture, `since` included, `until` not."""

    station: str | None = None
    product: str | None = None
    verdict: Verdict | None = None
    package_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class InspectionEntry:
    """An inspection with the address of its station and its stored pictures."""

    inspection: Inspection
    station: str
    evidence: Sequence[Evidence]


def page(
    session: Session, wanted: InspectionFilter, *, before_id: int | None, after_id: int | None, limit: int
) -> list[InspectionEntry]:
    """Up to `limit` inspections: newest first, or oldest first when `after_id` is given."""
    statement = select(Inspection, Station.address).join(Station, col(Station.id) == col(Inspection.station_id))
    if wanted.station is not None:
        statement = statement.where(Station.address == wanted.station)
    if wanted.product is not None:
        statement = statement.where(Inspection.product == wanted.product)
    if wanted.verdict is not None:
        statement = statement.where(Inspection.verdict == wanted.verdict)
    if wanted.package_id is not None:
        statement = statement.where(Inspection.package_id == wanted.package_id)
    if wanted.since is not None:
        statement = statement.where(Inspection.captured_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(Inspection.captured_at < wanted.until)
    if before_id is not None:
        statement = statement.where(col(Inspection.id) < before_id)
    if after_id is not None:
        statement = statement.where(col(Inspection.id) > after_id)
    order = col(Inspection.id).desc() if after_id is None else col(Inspection.id)
    return _with_evidence(session, session.exec(statement.order_by(order).limit(limit)).all())


def find(session: Session, station: str, epoch: int, sequence: int) -> InspectionEntry | None:
    """One inspection by its id."""
    statement = (
        select(Inspection, Station.address)
        .join(Station, col(Station.id) == col(Inspection.station_id))
        .where(Station.address == station, Inspection.epoch == epoch, Inspection.sequence == sequence)
    )
    found = _with_evidence(session, session.exec(statement).all())
    return found[0] if found else None


def count(session: Session) -> int:
    """How many are stored."""
    return session.exec(select(func.count()).select_from(Inspection)).one()


def _with_evidence(session: Session, rows: Sequence[tuple[Inspection, str]]) -> list[InspectionEntry]:
    if not rows:
        return []
    pictures = evidence.of_inspections(session, [(row.station_id, row.epoch, row.sequence) for row, _ in rows])
    return [
        InspectionEntry(row, address, pictures.get((row.station_id, row.epoch, row.sequence), ()))
        for row, address in rows
    ]
