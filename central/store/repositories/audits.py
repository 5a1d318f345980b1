# SPDX-License-Identifier: Apache-2.0
"""The audit queue: the next one to judge, its outcome, what is waiting. Called by the API.

Draws nothing and estimates nothing. An audit is judged once; its picture then becomes material for training.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, update
from sqlmodel import Session, col, select

from central.errors import ConflictError, NotFoundError
from central.store.tables import Audit, Inspection, LabelledPicture, Station, columns_of
from central.store.upserts import insert_into
from contracts.vocabulary import AuditState, Judgement, LabelSource


@dataclass(frozen=True)
class AuditEntry:
    """An audit with its inspection and the address of its station."""

    audit: Audit
    inspection: Inspection
    station: str


def listed(session: Session, state: AuditState | None, before_id: int | None, limit: int) -> list[AuditEntry]:
    """Newest first."""
    statement = _entries().order_by(col(Audit.id).desc()).limit(limit)
    if state is not None:
        statement = statement.where(Audit.state == state)
    if before_id is not None:
        statement = statement.where(col(Audit.id) < before_id)
    return [AuditEntry(*row) for row in session.exec(statement).all()]


def claim_next(
    session: Session, inspector: str, now: datetime, claim_s: float, rng: random.Random
) -> AuditEntry | None:
    """An open audit for this inspector, by chance among those that nobody else holds; None: nothing to judge.

    Parts that a challenger disagrees on go first: a rollout waits for them. By chance among equals, so that the order
    of the queue says nothing about the part. Asking again gives the same one.
    """
    mine = select(Audit.id).where(
        Audit.state == AuditState.OPEN, Audit.claimed_by == inspector, col(Audit.claimed_until) > now
    )
    audit_id = session.exec(mine).first()
    if audit_id is None:
        free = session.exec(
            select(Audit.id, Audit.is_discordant).where(
                Audit.state == AuditState.OPEN,
                or_(col(Audit.claimed_until).is_(None), col(Audit.claimed_until) <= now),
            )
        ).all()
        if not free:
            return None
        audit_id = rng.choice([number for number, is_first in free if is_first] or [number for number, _ in free])
    session.connection().execute(
        update(columns_of(Audit))
        .where(col(Audit.id) == audit_id)
        .values(claimed_by=inspector, claimed_until=now + timedelta(seconds=claim_s))
    )
    return entry(session, audit_id)


def entry(session: Session, audit_id: int | None) -> AuditEntry:
    """One audit.

    Raises:
        NotFoundError: no such audit.
    """
    row = session.exec(_entries().where(Audit.id == audit_id)).first()
    if row is None:
        raise NotFoundError(f"no audit {audit_id}")
    return AuditEntry(*row)


def judge(
    session: Session,
    audit_id: int,
    judgement: Judgement,
    *,
    defect_class: str | None,
    inspector: str,
    note: str,
    now: datetime,
) -> AuditEntry:
    """Write the outcome and the labelled picture.

    Raises:
        NotFoundError: no such audit.
        ConflictError: judged already, or there is no picture to judge.
    """
    found = entry(session, audit_id)
    kept_class = defect_class if judgement is Judgement.DEFECTIVE else None
    answer = session.connection().execute(
        update(columns_of(Audit))
        .where(col(Audit.id) == audit_id, col(Audit.state) == AuditState.OPEN)
        .values(
            state=AuditState.JUDGED,
            judgement=judgement,
            defect_class=kept_class,
            inspector=inspector,
            note=note,
            judged_at=now,
        )
    )
    if answer.rowcount == 0:
        by = f" by {found.audit.inspector}" if found.audit.inspector else ""
        raise ConflictError(f"audit {audit_id} is {found.audit.state.value}{by}; only an OPEN one can be judged")
    if found.audit.product and found.audit.crop_sha256:
        keep_label(
            session,
            LabelledPicture(
                product=found.audit.product,
                sha256=found.audit.crop_sha256,
                judgement=judgement,
                defect_class=kept_class,
                part_id=part_of(found.inspection, found.station),
                # Not chance asked but a disagreement of machines.
                source=LabelSource.REVIEW if found.audit.is_discordant else LabelSource.AUDIT,
                inspection_id=found.inspection.id,
                audit_id=audit_id,
                added_at=now,
                is_simulated=found.audit.is_simulated,
            ),
        )
    return found


def keep_label(session: Session, label: LabelledPicture) -> bool:
    """Add a judged picture; False: known already. The first firm judgement stands, UNSURE gives way to it."""
    table = columns_of(LabelledPicture)
    row = label.model_dump(exclude={"id"})
    statement = insert_into(session, LabelledPicture).on_conflict_do_update(
        index_elements=["product", "sha256"],
        set_=row,
        where=(table.c.judgement == Judgement.UNSURE) & (table.c.is_simulated == label.is_simulated),
    )
    return session.connection().execute(statement.returning(table.c.id), row).first() is not None


def part_of(inspection: Inspection, station: str) -> str:
    """The physical part, for the group-disjoint split; an unnamed part is a group of its own."""
    return inspection.part_id or f"{station}/{inspection.epoch}/{inspection.sequence}"


def count_by_state(session: Session) -> dict[AuditState, int]:
    """How many audits are in each state."""
    counts = session.exec(select(Audit.state, func.count()).group_by(col(Audit.state))).all()
    return dict.fromkeys(AuditState, 0) | {AuditState(state): count for state, count in counts}


def count_by_judgement(session: Session) -> dict[Judgement, int]:
    """How many judged audits said what, of those that chance drew."""
    statement = select(Audit.judgement, func.count()).where(
        col(Audit.judgement).is_not(None), col(Audit.is_discordant).is_(False)
    )
    counts = session.exec(statement.group_by(col(Audit.judgement))).all()
    return {Judgement(judgement): count for judgement, count in counts if judgement is not None}


def known_defect_classes(session: Session) -> Sequence[str]:
    """Every class that a person named so far, sorted."""
    statement = select(LabelledPicture.defect_class).where(col(LabelledPicture.defect_class).is_not(None)).distinct()
    return sorted(name for name in session.exec(statement).all() if name)


def _entries() -> Any:
    return (
        select(Audit, Inspection, Station.address)
        .join(Inspection, col(Inspection.id) == col(Audit.inspection_id))
        .join(Station, col(Station.id) == col(Inspection.station_id))
    )
