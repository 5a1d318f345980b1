# SPDX-License-Identifier: Apache-2.0
"""The audit queue: the next one to judge, its outcome, what is waiting. Called by the API.

Draws nothing and estimates nothing. An asking is judged once. Where one answer does not settle the part, the next
asking is put into the same queue in the same transaction, a row like any other; once it is settled, its picture becomes
material for training.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import exists, func, or_, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from central.domain.audit import settle
from central.errors import ConflictError, NotFoundError
from central.store.repositories.chance import is_by_chance
from central.store.tables import Audit, Inspection, LabelledPicture, Station, columns_of
from central.store.upserts import insert_into
from contracts.vocabulary import AuditState, Judgement, LabelSource, Verdict

_MOST_RACES: Final = 5
_AGAIN_FIRST: Final = 0.5
# `asked_because` of one more asking about a part whose label models disagree with.
SUSPECT: Final = "SUSPECT_LABEL"


@dataclass(frozen=True)
class AuditEntry:
    """An audit with its inspection and the address of its station."""

    audit: Audit
    inspection: Inspection
    station: str


def listed(session: Session, state: AuditState | None, limit: int) -> list[AuditEntry]:
    """Newest first."""
    statement = _entries().order_by(col(Audit.id).desc()).limit(limit)
    if state is not None:
        statement = statement.where(Audit.state == state)
    return [AuditEntry(*row) for row in session.exec(statement).all()]


def listed_blind(session: Session, state: AuditState | None, before: int | None, limit: int) -> list[AuditEntry]:
    """By falling number, which says nothing of their order; only what can be judged, or was.

    A part that is asked for the first time waits for its picture, one more asking does not: who looks often would know
    it by its coming at once, or by its coming alone. So it is listed from the next first asking on.
    """
    shown = (AuditState.OPEN, AuditState.JUDGED) if state is None else (state,)
    newest_first = select(func.max(Audit.opened_at)).where(Audit.ask == 1).scalar_subquery()
    statement = _entries().where(
        col(Audit.state).in_(shown), or_(col(Audit.ask) == 1, col(Audit.opened_at) <= newest_first)
    )
    if before is not None:
        statement = statement.where(col(Audit.number) < before)
    return [AuditEntry(*row) for row in session.exec(statement.order_by(col(Audit.number).desc()).limit(limit)).all()]


def claim_next(
    session: Session, inspector: str, now: datetime, claim_s: float, rng: random.Random
) -> AuditEntry | None:
    """An open audit for this inspector, by chance among those that nobody else holds; None: nothing to judge.

    Parts that a challenger disagrees on go first: a rollout waits for them. Those that a training asked for go last: no
    figure waits for them. Every second time one that was asked before goes first, so that it does not wait long. By
    chance among equals, so that the order of the queue says nothing about the part. Nobody gets a part that they judged
    before, but as a blind repeat. Asking again gives the same one.
    """
    mine = select(Audit.id).where(
        Audit.state == AuditState.OPEN, Audit.claimed_by == inspector, col(Audit.claimed_until) > now
    )
    audit_id = session.exec(mine).first()
    is_free = or_(col(Audit.claimed_until).is_(None), col(Audit.claimed_until) <= now)
    if audit_id is not None:
        is_free = or_(is_free, col(Audit.claimed_by) == inspector)
    # Who loses a race for one takes another.
    for _ in range(_MOST_RACES):
        if audit_id is None:
            audit_id = _choose(session, inspector, is_free, rng)
        if audit_id is None:
            return None
        taken = session.connection().execute(
            update(columns_of(Audit))
            .where(col(Audit.id) == audit_id, col(Audit.state) == AuditState.OPEN, is_free)
            .values(claimed_by=inspector, claimed_until=now + timedelta(seconds=claim_s))
        )
        if taken.rowcount:
            return AuditEntry(*session.exec(_entries().where(Audit.id == audit_id)).one())
        audit_id = None
    return None


def _choose(session: Session, inspector: str, is_free: Any, rng: random.Random) -> int | None:
    columns: Any = [Audit.id, Audit.is_discordant, Audit.ask, Audit.is_repeat, Audit.asked_because]
    wanted = select(*columns).where(
        Audit.state == AuditState.OPEN, is_free, or_(col(Audit.is_repeat), ~_has_judged(inspector))
    )
    free: Sequence[tuple[int, bool, int, bool, str | None]] = session.exec(wanted).all()
    disputed = [number for number, is_first, *_ in free if is_first]
    again = [number for number, _, ask, is_repeat, asked in free if ask > 1 and not is_repeat and asked is None]
    every = [number for number, *_, asked in free if asked is None] or [number for number, *_ in free]
    if again and not disputed and rng.random() < _AGAIN_FIRST:
        return rng.choice(again)
    return rng.choice(disputed or every) if every else None


def _has_judged(inspector: str) -> Any:
    """Whether an audit is of a part that this inspector has judged."""
    before = aliased(Audit)
    return exists().where(
        col(before.inspection_id) == col(Audit.inspection_id),
        col(before.inspector) == inspector,
        col(before.state) == AuditState.JUDGED,
    )


def entry(session: Session, number: int) -> AuditEntry:
    """One audit, by the number that chance gave it.

    Raises:
        NotFoundError: no such audit.
    """
    row = session.exec(_entries().where(Audit.number == number)).first()
    if row is None:
        raise NotFoundError(f"no audit {number}")
    return AuditEntry(*row)


def judge(
    session: Session,
    number: int,
    judgement: Judgement,
    *,
    defect_class: str | None,
    inspector: str,
    note: str,
    now: datetime,
    confirms: bool = True,
) -> AuditEntry:
    """Write one answer to the audit of this number; settle the part with it, or ask one more inspector.

    Raises:
        NotFoundError: no such audit.
        ConflictError: judged already, there is no picture to judge, or this inspector has judged this part before.
    """
    found = entry(session, number)
    audit_id = found.audit.id
    # One answer at a time about a part: two of them must not both ask the next.
    first = session.exec(
        select(Audit)
        .where(Audit.inspection_id == found.audit.inspection_id, Audit.ask == 1)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    is_twice = not found.audit.is_repeat and found.audit.state is AuditState.OPEN
    if is_twice and session.exec(select(Audit.id).where(Audit.id == audit_id, _has_judged(inspector))).first():
        raise ConflictError(f"audit {number}: {inspector} has judged this part before; take the next one")
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
        msg = f"audit {number} is {found.audit.state.value}{by}; only an OPEN one can be judged"
        raise ConflictError(f"{msg}; take the next one with GET /audits/next")
    if found.audit.asked_because == SUSPECT and found.audit.ask > 1:
        session.refresh(found.audit)
        _replace_label(session, found.audit, now)
    elif not found.audit.is_repeat and first.outcome is None:
        session.refresh(first)
        _settle(session, first, found, now, is_single=first.is_discordant or not confirms)
    return found


def _settle(session: Session, first: Audit, found: AuditEntry, now: datetime, *, is_single: bool) -> None:
    asked = session.exec(
        select(Audit)
        .where(Audit.inspection_id == first.inspection_id, col(Audit.is_repeat).is_(False))
        .order_by(col(Audit.ask))
        .execution_options(populate_existing=True)
    ).all()
    answers = [row.judgement for row in asked if row.judgement is not None]
    outcome = settle(found.inspection.verdict, answers, is_single=is_single)
    if outcome is None:
        session.add(ask_again(first, len(asked) + 1, now))
        return
    first.outcome, first.settled_at = outcome, now
    if outcome is Judgement.DEFECTIVE:
        first.defect_class = next((row.defect_class for row in asked if row.defect_class), None)
    session.add(first)
    is_disputed = outcome is Judgement.GOOD and found.inspection.verdict is Verdict.OK and len(set(answers)) > 1
    # What two people saw differently teaches nothing, whatever it counts as.
    if first.product and first.crop_sha256 and not (is_disputed and Judgement.DEFECTIVE in answers):
        keep_label(
            session,
            LabelledPicture(
                product=first.product,
                sha256=first.crop_sha256,
                judgement=outcome,
                defect_class=first.defect_class if outcome is Judgement.DEFECTIVE else None,
                part_id=part_of(found.inspection, found.station),
                source=_source_of(first),
                inspection_id=found.inspection.id,
                audit_id=first.id,
                added_at=now,
                is_simulated=first.is_simulated,
            ),
        )


def _replace_label(session: Session, audit: Audit, now: datetime) -> None:
    """What was said of a suspect label takes its place; the same again, or UNSURE, changes nothing."""
    judgement, defect_class = audit.judgement, audit.defect_class
    label = session.exec(
        select(LabelledPicture)
        .where(LabelledPicture.product == audit.product, LabelledPicture.sha256 == audit.crop_sha256)
        .with_for_update()
    ).one()
    is_other = judgement is not label.judgement or (defect_class is not None and defect_class != label.defect_class)
    if judgement is None or judgement is Judgement.UNSURE or not is_other:
        return
    before = {
        "judgement": label.judgement.value,
        "defect_class": label.defect_class,
        "labelled_at": label.added_at.isoformat(),
        "replaced_at": now.isoformat(),
        "replaced_by": audit.inspector,
        "audit_id": audit.id,
    }
    label.earlier = [*(label.earlier or []), before]
    label.judgement, label.defect_class, label.added_at = judgement, defect_class, now
    session.add(label)


def _source_of(first: Audit) -> LabelSource:
    """Who asked: chance, a disagreement of machines, or what a training would learn most from."""
    if first.asked_because is not None:
        return LabelSource.ASKED
    return LabelSource.REVIEW if first.is_discordant else LabelSource.AUDIT


def ask_again(first: Audit, ask: int, now: datetime, *, is_repeat: bool = False) -> Audit:
    """One more asking about an audited part. It is in no estimate itself, so its chance is 0."""
    return Audit(
        inspection_id=first.inspection_id,
        product=first.product,
        drawn_at=now,
        stratum=first.stratum,
        inclusion_probability=0.0,
        state=AuditState.OPEN,
        crop_sha256=first.crop_sha256,
        opened_at=now,
        is_floor=False,
        is_discordant=first.is_discordant,
        asked_because=first.asked_because,
        is_simulated=first.is_simulated,
        ask=ask,
        is_repeat=is_repeat,
    )


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
    statement = select(Audit.judgement, func.count()).where(col(Audit.judgement).is_not(None), is_by_chance(Audit))
    counts = session.exec(statement.group_by(col(Audit.judgement))).all()
    return {Judgement(judgement): count for judgement, count in counts if judgement is not None}


def count_unsettled(session: Session) -> int:
    """Audits that people judged and that wait for another inspector."""
    statement = select(func.count()).where(
        Audit.state == AuditState.JUDGED, Audit.ask == 1, col(Audit.outcome).is_(None)
    )
    return session.exec(statement).one()


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
