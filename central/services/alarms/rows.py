# SPDX-License-Identifier: Apache-2.0
"""Alarms as rows: raise (or fold into the open one), acknowledge, say the cause, close.

Decides nothing about what is alarming; that is `services/watches/watching.py`. Called by the watch, by rollouts (which
close what they mended) and by the alarm routes. Every function works in the caller's transaction.
"""

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session, col, func, select

from central.errors import ConflictError, NotFoundError
from central.quality.cause import Cause
from central.store.learning_tables import Alarm
from central.store.tables import Inspection
from contracts.vocabulary import AlarmKind, AlarmState

_LOG = logging.getLogger(__name__)

EARLIER_CAUSES: Final = "earlier_causes"
_MOST_EARLIER: Final = 20
_OF_THE_FIRST: Final = ("onset", "raised_at_part")


@dataclass(frozen=True)
class Signal:
    """What a chart or watch saw, in words, and what to do about it."""

    kind: AlarmKind
    message: str
    remedy: str
    is_simulated: bool
    station: str | None = None
    product: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def open_key(self) -> str:
        """What the alarm is about; one may be open at a time. Charts of one kind are told apart by `chart`."""
        chart = self.evidence.get("chart", "")
        return f"{self.kind}|{self.station or ''}|{self.product or ''}|{chart}|{int(self.is_simulated)}"


def raise_alarm(session: Session, signal: Signal, now: datetime) -> Alarm:
    """Open an alarm, or fold the signal into the one that is open about the same thing."""
    alarm = session.exec(select(Alarm).where(Alarm.open_key == signal.open_key)).first()
    if alarm is None:
        newest = session.exec(select(func.max(Inspection.id))).one()
        alarm = Alarm(
            open_key=signal.open_key,
            kind=signal.kind,
            station=signal.station,
            product=signal.product,
            raised_at=now,
            raised_at_inspection_id=newest,
            last_seen_at=now,
            message=signal.message,
            remedy=signal.remedy,
            evidence=signal.evidence,
            is_simulated=signal.is_simulated,
        )
        _LOG.warning("alarm raised kind=%s station=%s product=%s", signal.kind, signal.station, signal.product)
    else:
        alarm.last_seen_at = now
        alarm.repeats += 1
        # The first message stays: it says what was known when people were called.
        alarm.evidence = {**alarm.evidence, **signal.evidence}
    session.add(alarm)
    session.flush()
    return alarm


def raise_with_onset(session: Session, signal: Signal, now: datetime) -> Alarm:
    """As `raise_alarm`. When it began was said when people were called; what goes further since began no later."""
    if session.exec(select(Alarm.id).where(Alarm.open_key == signal.open_key)).first() is not None:
        later = {name: told for name, told in signal.evidence.items() if name not in _OF_THE_FIRST}
        signal = replace(signal, evidence=later)
    return raise_alarm(session, signal, now)


def open_alarms(session: Session, kind: AlarmKind) -> list[Alarm]:
    """Alarms of a kind that are not closed, oldest first."""
    wanted = select(Alarm).where(Alarm.kind == kind, Alarm.state != AlarmState.CLOSED).order_by(col(Alarm.id))
    return list(session.exec(wanted).all())


def last_closed_at(session: Session, kind: AlarmKind, *, product: str, is_simulated: bool) -> datetime | None:
    """When the last alarm of this kind and product was closed: older evidence has been dealt with."""
    closed = select(func.max(Alarm.closed_at)).where(
        Alarm.kind == kind, Alarm.product == product, Alarm.is_simulated == is_simulated
    )
    return session.exec(closed).one()


def find_alarm(session: Session, alarm_id: int) -> Alarm:
    """One alarm.

    Raises:
        NotFoundError: there is none with this number.
    """
    alarm = session.get(Alarm, alarm_id)
    if alarm is None:
        raise NotFoundError(f"alarm {alarm_id}: no such alarm")
    return alarm


def acknowledge(alarm: Alarm, by: str) -> None:
    """Somebody has seen it. It stays open.

    Raises:
        ConflictError: it is closed.
    """
    if alarm.state is AlarmState.CLOSED:
        closed = alarm.closed_at.isoformat(timespec="seconds") if alarm.closed_at is not None else "a time not known"
        msg = f"alarm {alarm.id}: expected an open alarm, it was closed at {closed}"
        raise ConflictError(f"{msg}; nothing is left to see to, the same signal raises a new one")
    alarm.state = AlarmState.ACKNOWLEDGED
    alarm.acknowledged_by = alarm.acknowledged_by or by


def say_cause(alarm: Alarm, cause: Cause, by: str, note: str, now: datetime) -> None:
    """A person found out what was behind it, or corrects what was said before; also after it was closed.

    What was said before stays in the evidence: who was wrong is worth knowing when causes are counted.
    """
    if alarm.cause is not None:
        at = None if alarm.cause_at is None else alarm.cause_at.isoformat()
        before = {"cause": alarm.cause, "by": alarm.cause_by, "note": alarm.cause_note, "at": at}
        # A new list: the database notices no change inside the old one.
        earlier = [*alarm.evidence.get(EARLIER_CAUSES, []), before][-_MOST_EARLIER:]
        alarm.evidence = {**alarm.evidence, EARLIER_CAUSES: earlier}
    alarm.cause, alarm.cause_by, alarm.cause_note, alarm.cause_at = cause.value, by[:63], note, now
    _LOG.info("alarm cause said alarm_id=%s cause=%s by=%s", alarm.id, cause, by)


def close(alarm: Alarm, by: str, now: datetime) -> None:
    """Done with. Closing twice changes nothing."""
    if alarm.state is AlarmState.CLOSED:
        return
    alarm.state = AlarmState.CLOSED
    alarm.open_key = None
    alarm.closed_at = now
    alarm.closed_by = by[:63]
    _LOG.info("alarm closed alarm_id=%s kind=%s by=%s", alarm.id, alarm.kind, by)
