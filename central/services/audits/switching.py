# SPDX-License-Identifier: Apache-2.0
"""Counts ended shifts by their audits, switches how severely is audited, calls people where sampling ends.

A shift is counted once the audits that equal chance drew in it are settled, at the latest `audit.shift_judged_after_s`
after its end, in the order of shifts. What it says changes the newest row at once. Restart-safe: everything is rows.

Which shifts count. One that was accepted earns trust only when the state it is counted under held in all of it; one
that was not accepted always counts, but for those from before a tightening or a person's resumption: what made these
begin must not stop sampling a second time.

Draws nothing (`auditing`). Ticked by the worker; `resume_shift` is called by the API.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, select

from central.audit_settings import AuditSettings
from central.errors import ConflictError, NotFoundError
from central.quality.switching import Inspection, ShiftOutcome, SwitchingState, acceptance, next_state, resume
from central.services.alarms.rows import Signal, close, open_alarms, raise_alarm
from central.services.audits.shifts import (
    Stream,
    keep_state,
    rules_of,
    standing,
    state_of,
    stream_of,
    tighten_for_alarms,
)
from central.store.audit_tables import AuditShift
from central.store.database import Database
from central.store.learning_tables import Alarm
from central.store.tables import Audit, Station
from contracts.vocabulary import AlarmKind, AlarmState, AuditState, Judgement

_LOG = logging.getLogger(__name__)

# Whose alarms say that production does not run as usual.
_UNSTEADY: Final = (AlarmKind.ESCAPES, AlarmKind.REJECT_RATE, AlarmKind.IMAGE_SHIFT, AlarmKind.DRIFT, AlarmKind.NOVELTY)
_MOST_SHIFTS_A_TICK: Final = 200


class AuditSwitching:
    """See the module. `tolerated_share`: of defective parts among accepted ones, as of the alarm on escapes."""

    name: Final = "audit-switching"
    period_s: Final = 5.0

    def __init__(self, database: Database, settings: AuditSettings, tolerated_share: float) -> None:
        self._database = database
        self._settings = settings
        self._tolerated_share = tolerated_share
        self._rules = rules_of(settings)

    def tick(self, now: datetime) -> None:
        """Count what can be counted; tighten for alarms; call people where sampling is discontinued."""
        with self._database.read() as session:
            if not self._is_due(session, now):
                return
        with self._database.begin() as session:
            rows = standing(session)
            tighten_for_alarms(session, rows, now)
            for shift in self._countable(session, now):
                self._count(session, shift, rows[stream_of(shift)], now)
            # Once more: an alarm that is open keeps it tightened, whatever the shifts said.
            tighten_for_alarms(session, rows, now)
            for row in rows.values():
                if row.inspection is Inspection.DISCONTINUED and _alarm_of(session, row) is None:
                    raise_alarm(session, self._signal(session, row), now)

    def _is_due(self, session: Session, now: datetime) -> bool:
        if self._countable(session, now):
            return True
        rows = standing(session, is_locked=False).values()
        alarmed = {(alarm.product, alarm.is_simulated) for alarm in open_alarms(session, AlarmKind.ESCAPES)}
        severe = (Inspection.TIGHTENED, Inspection.DISCONTINUED)
        return any(
            ((row.product, row.is_simulated) in alarmed and row.inspection not in severe)
            or (row.inspection is Inspection.DISCONTINUED and _alarm_of(session, row) is None)
            for row in rows
        )

    def _countable(self, session: Session, now: datetime) -> list[AuditShift]:
        """Ended shifts whose audits are settled, oldest first; what comes after one that is not waits too."""
        held: set[Stream] = set()
        found = []
        for shift in _uncounted(session, now):
            if stream_of(shift) in held or not self._is_judged(session, shift, now):
                held.add(stream_of(shift))
            else:
                found.append(shift)
        return found

    def _is_judged(self, session: Session, shift: AuditShift, now: datetime) -> bool:
        if now >= shift.ends_at + timedelta(seconds=self._settings.shift_judged_after_s):
            return True
        wanted = select(Audit.id).where(
            Audit.shift_id == shift.id,
            col(Audit.is_floor).is_(True),
            Audit.state != AuditState.LOST,
            col(Audit.outcome).is_(None),
        )
        return session.exec(wanted.limit(1)).first() is None

    def _count(self, session: Session, shift: AuditShift, row: AuditShift, now: datetime) -> None:
        """Judge one ended shift and move the state that holds now (`row`)."""
        said = [
            # Not settled in time: what the first inspector said, as the alarm on escapes takes it.
            outcome or judgement
            for outcome, judgement in session.exec(
                select(Audit.outcome, Audit.judgement).where(
                    Audit.shift_id == shift.id, col(Audit.is_floor).is_(True), Audit.state == AuditState.JUDGED
                )
            ).all()
        ]
        defective = said.count(Judgement.DEFECTIVE)
        audits = defective + said.count(Judgement.GOOD)
        outcome = acceptance(audits, defective, self._tolerated_share)
        shift.counted_at, shift.audits, shift.defective = now, audits, defective
        shift.is_accepted = outcome.is_accepted if audits else None
        session.add(shift)
        is_steady = shift.is_steady and not _has_alarm(session, shift) and (audits > 0 or shift.drawn == 0)
        outcome = ShiftOutcome(outcome.is_accepted, outcome.credit, is_steady, outcome.is_known)
        before = state_of(row)
        if shift.opened_at < row.changed_at and (outcome.is_accepted or before.inspection in _BEGUN_BY_A_CAUSE):
            return
        after = next_state(before, outcome, self._rules)
        keep_state(row, after, self._reason(shift, before, after), now)
        session.add(row)
        if after.inspection is not before.inspection:
            _LOG.warning(
                "audit severity station_id=%s product=%s from=%s to=%s reason=%s",
                row.station_id,
                row.product,
                before.inspection,
                after.inspection,
                row.reason,
            )

    def _reason(self, shift: AuditShift, before: SwitchingState, after: SwitchingState) -> str:
        """Why the state changed, for people."""
        seen = f"{shift.defective} of {shift.audits} audits of the shift {shift.shift} defective"
        match after.inspection:
            case Inspection.TIGHTENED:
                last = (*before.recent, False)[-self._rules.within_shifts :]
                return f"{last.count(False)} of the last {len(last)} shifts not accepted, {seen}"
            case Inspection.DISCONTINUED:
                return f"{before.rejected_while_tightened + 1} shifts not accepted while tightened, {seen}"
            case Inspection.REDUCED:
                return "many shifts in a row accepted with something to spare, production steady"
            case Inspection.SKIP_LOT:
                return f"{after.accepted_in_a_row} shifts in a row accepted under reduced inspection"
            case Inspection.NORMAL if before.inspection is Inspection.TIGHTENED:
                return f"{before.accepted_in_a_row + 1} shifts in a row accepted while tightened"
            case Inspection.NORMAL:
                return f"not accepted: {seen}" if shift.is_accepted is False else f"production not steady, {seen}"

    def _signal(self, session: Session, row: AuditShift) -> Signal:
        station = session.get_one(Station, row.station_id).address
        return Signal(
            kind=AlarmKind.SAMPLING_DISCONTINUED,
            station=station,
            product=row.product or None,
            is_simulated=row.is_simulated,
            message=(
                f"Samples of accepted parts of {row.product or 'an unnamed product'} at {station} are not enough any "
                f"more: {row.reason}."
            ),
            remedy=(
                "Hold the accepted parts or have people judge each of them; all are drawn for audit as far as the "
                "queue has room. Find the cause. Once it is removed, resume on the page Audit: auditing then goes on "
                "tightened."
            ),
            evidence={
                "chart": "",
                "shift_id": row.id,
                "since": row.changed_at.isoformat(),
                "tolerated_share": self._tolerated_share,
                "rejected_to_discontinue": self._rules.rejected_to_discontinue,
            },
        )


_BEGUN_BY_A_CAUSE: Final = (Inspection.TIGHTENED, Inspection.DISCONTINUED)


def resume_shift(session: Session, shift_id: int, by: str, note: str, now: datetime) -> AuditShift:
    """A person removed the cause: tightened inspection from now on, and the alarm is closed.

    Raises:
        NotFoundError: no such shift.
        ConflictError: a newer shift of this station and product holds now, or nothing was discontinued.
    """
    asked = session.get(AuditShift, shift_id)
    if asked is None:
        raise NotFoundError(f"shift {shift_id}: no such shift; GET /audits/shifts lists them")
    row = standing(session)[stream_of(asked)]
    if row.id != shift_id:
        raise ConflictError(
            f"shift {shift_id}: expected the newest of its station and product; resume shift {row.id}, which holds now"
        )
    if row.inspection is not Inspection.DISCONTINUED:
        raise ConflictError(
            f"shift {shift_id}: expected DISCONTINUED, it is {row.inspection}; nothing to resume, sampling goes on"
        )
    keep_state(row, resume(state_of(row)), f"resumed by {by}" + (f": {note}" if note else ""), now, by)
    session.add(row)
    alarm = _alarm_of(session, row)
    if alarm is not None:
        close(alarm, by, now)
        session.add(alarm)
    _LOG.warning("audit resumed shift_id=%s station_id=%s product=%s by=%s", row.id, row.station_id, row.product, by)
    return row


def _uncounted(session: Session, now: datetime) -> list[AuditShift]:
    wanted = select(AuditShift).where(col(AuditShift.counted_at).is_(None), AuditShift.ends_at <= now)
    return list(session.exec(wanted.order_by(col(AuditShift.id)).limit(_MOST_SHIFTS_A_TICK)).all())


def _has_alarm(session: Session, shift: AuditShift) -> bool:
    """Whether an open alarm speaks of this station or product."""
    station = session.get_one(Station, shift.station_id).address
    wanted = select(Alarm).where(
        col(Alarm.kind).in_(_UNSTEADY),
        Alarm.state != AlarmState.CLOSED,
        col(Alarm.is_simulated).is_(shift.is_simulated),
    )
    return any(
        alarm.station in {None, station} and alarm.product in {None, shift.product}
        for alarm in session.exec(wanted).all()
    )


def _alarm_of(session: Session, row: AuditShift) -> Alarm | None:
    station = session.get_one(Station, row.station_id).address
    for alarm in open_alarms(session, AlarmKind.SAMPLING_DISCONTINUED):
        if (alarm.station, alarm.product or "", alarm.is_simulated) == (station, row.product, row.is_simulated):
            return alarm
    return None
