# SPDX-License-Identifier: Apache-2.0
"""Evidence rows: offered, stored, found; and the audits that wait for them. Used by `services/evidence.py`."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, update
from sqlmodel import Session, col, select

from central.store.repositories import stations
from central.store.tables import Audit, Evidence, Inspection, Station, columns_of
from central.store.upserts import insert_into
from contracts.ids import InspectionId
from contracts.reports import EvidenceOffered
from contracts.vocabulary import AuditState, EvidenceKind

_AUDITS_AT_ONCE = 500


def offer(session: Session, offered: EvidenceOffered, now: datetime, *, is_stored: bool) -> None:
    """Remember an offer. A second offer for the same inspection and kind replaces one whose bytes never came."""
    address = str(offered.inspection.station)
    station_id = stations.ensure(session, [address], now)[address]
    row: dict[str, Any] = {
        "station_id": station_id,
        "epoch": offered.inspection.epoch,
        "sequence": offered.inspection.sequence,
        "kind": offered.kind,
        "sha256": offered.sha256,
        "size_bytes": offered.size_bytes,
        "media_type": offered.media_type,
        "is_simulated": offered.is_simulated,
        "offered_at": now,
        "stored_at": now if is_stored else None,
    }
    table = columns_of(Evidence)
    statement = insert_into(session, Evidence).on_conflict_do_update(
        index_elements=["station_id", "epoch", "sequence", "kind"], set_=row, where=table.c.stored_at.is_(None)
    )
    session.connection().execute(statement, row)


def find(session: Session, sha256: str) -> Evidence | None:
    """Any row with this picture, a stored one first."""
    order = (col(Evidence.stored_at).is_(None), col(Evidence.id))
    return session.exec(select(Evidence).where(Evidence.sha256 == sha256).order_by(*order)).first()


def mark_stored(session: Session, sha256: str, now: datetime) -> None:
    """The bytes are whole and verified."""
    session.connection().execute(
        update(columns_of(Evidence))
        .where(col(Evidence.sha256) == sha256, col(Evidence.stored_at).is_(None))
        .values(stored_at=now)
    )


def of_inspections(
    session: Session, keys: Sequence[tuple[int, int, int]]
) -> dict[tuple[int, int, int], list[Evidence]]:
    """Stored pictures by (station id, epoch, sequence)."""
    found: defaultdict[tuple[int, int, int], list[Evidence]] = defaultdict(list)
    wanted = set(keys)
    rows = session.exec(
        select(Evidence)
        .where(
            col(Evidence.station_id).in_({key[0] for key in wanted}),
            col(Evidence.epoch).in_({key[1] for key in wanted}),
            col(Evidence.sequence).in_({key[2] for key in wanted}),
            col(Evidence.stored_at).is_not(None),
        )
        .order_by(col(Evidence.kind))
    ).all()
    for row in rows:
        key = (row.station_id, row.epoch, row.sequence)
        if key in wanted:
            found[key].append(row)
    return found


def stored_crop(session: Session, station_id: int, epoch: int, sequence: int) -> str | None:
    """Digest of the crop of an inspection; None: it is not here."""
    return session.exec(
        select(Evidence.sha256).where(
            Evidence.station_id == station_id,
            Evidence.epoch == epoch,
            Evidence.sequence == sequence,
            Evidence.kind == EvidenceKind.CROP,
            col(Evidence.stored_at).is_not(None),
        )
    ).first()


def has_due_audits(session: Session) -> bool:
    """Whether `open_audits` would find any."""
    return session.exec(_due_audits(None).limit(1)).first() is not None


def open_audits(session: Session, now: datetime, sha256: str | None = None) -> int:
    """Open the audits whose crop is stored, all of them or those of one picture; how many."""
    due = session.exec(_due_audits(sha256).limit(_AUDITS_AT_ONCE)).all()
    for audit_id, crop_sha256 in due:
        session.connection().execute(
            update(columns_of(Audit))
            .where(col(Audit.id) == audit_id, col(Audit.state) == AuditState.AWAITING_EVIDENCE)
            .values(state=AuditState.OPEN, crop_sha256=crop_sha256, opened_at=now)
        )
    return len(due)


def _due_audits(sha256: str | None) -> Any:
    statement = (
        select(Audit.id, Evidence.sha256)
        .join(Inspection, col(Inspection.id) == col(Audit.inspection_id))
        .join(
            Evidence,
            and_(
                col(Evidence.station_id) == col(Inspection.station_id),
                col(Evidence.epoch) == col(Inspection.epoch),
                col(Evidence.sequence) == col(Inspection.sequence),
            ),
        )
        .where(
            Audit.state == AuditState.AWAITING_EVIDENCE,
            Evidence.kind == EvidenceKind.CROP,
            col(Evidence.stored_at).is_not(None),
        )
    )
    return statement if sha256 is None else statement.where(Evidence.sha256 == sha256)


def lose_audits(session: Session, inspections: Iterable[InspectionId]) -> int:
    """End the audits of these inspections that still wait for a picture; how many."""
    lost = 0
    for inspection in inspections:
        found = (
            select(Inspection.id)
            .join(Station, col(Station.id) == col(Inspection.station_id))
            .where(
                Station.address == str(inspection.station),
                Inspection.epoch == inspection.epoch,
                Inspection.sequence == inspection.sequence,
            )
        )
        inspection_id = session.exec(found).first()
        if inspection_id is None:
            continue
        answer = session.connection().execute(
            update(columns_of(Audit))
            .where(col(Audit.inspection_id) == inspection_id, col(Audit.state) == AuditState.AWAITING_EVIDENCE)
            .values(state=AuditState.LOST)
        )
        lost += answer.rowcount
    return lost
