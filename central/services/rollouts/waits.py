# SPDX-License-Identifier: Apache-2.0
"""Raises an alarm when a rollout waits for long, and closes it when the rollout goes on.

Keeps since when each thing is waited for, so that a restart of central does not begin to count anew. One alarm for each
rollout, wave and kind of wait: the same wait again folds into it, and one that a person closed is not raised again
before the rollout has gone on. Moves no rollout. Ticked by the worker.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, select

from central.domain.rollout_waits import REMEDIES, Wait, WaitKind, waits_of
from central.services.alarms.rows import Signal, close, raise_alarm
from central.services.rollouts.state import state_of
from central.settings import RolloutSettings
from central.store.database import Database
from central.store.learning_tables import OPEN_ROLLOUTS, Alarm, RolloutRow
from central.store.rollout_tables import RolloutWait
from contracts.vocabulary import AlarmKind, AlarmState

_PERIOD_S: Final = 10.0


class RolloutWaits:
    """See the module."""

    name: Final = "rollout-waits"

    def __init__(self, database: Database, settings: RolloutSettings) -> None:
        self._database = database
        self._limit = timedelta(seconds=settings.wait_alarm_s)
        self._period_s = min(_PERIOD_S, max(1.0, settings.wait_alarm_s / 4))

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._period_s

    def tick(self, now: datetime) -> None:
        """Look at every open rollout once."""
        with self._database.read() as session:
            rows = session.exec(select(RolloutRow).where(col(RolloutRow.state).in_(OPEN_ROLLOUTS))).all()
            known = session.exec(select(RolloutWait.rollout_id).limit(1)).first()
        if not rows and known is None:
            return
        with self._database.begin() as session:
            stored = {(each.rollout_id, each.wave, each.kind): each for each in session.exec(select(RolloutWait)).all()}
            for row in rows:
                for wait in waits_of(state_of(row)):
                    kept = stored.pop((row.id or 0, wait.wave, wait.kind.value), None)
                    self._follow(session, row, wait, kept, now)
            for gone in stored.values():
                _end(session, gone, now)

    def _follow(self, session: Session, row: RolloutRow, wait: Wait, kept: RolloutWait | None, now: datetime) -> None:
        """Note since when, and call people when it is too long."""
        if kept is None:
            kept = RolloutWait(rollout_id=row.id or 0, wave=wait.wave, kind=wait.kind.value, since=wait.since or now)
            session.add(kept)
        elif wait.since is not None and wait.since > kept.since:
            # It went on in between: another station, or the same one anew.
            _end_alarm(session, kept, now)
            kept.since, kept.alarm_id = wait.since, None
            session.add(kept)
        if now - kept.since <= self._limit:
            return
        alarm = session.get(Alarm, kept.alarm_id) if kept.alarm_id is not None else None
        if alarm is not None and alarm.state is AlarmState.CLOSED:
            return
        kept.alarm_id = raise_alarm(session, _signal(row, wait, kept.since), now).id
        session.add(kept)


def _signal(row: RolloutRow, wait: Wait, since: datetime) -> Signal:
    at = f" at {wait.where}" if wait.stations else ""
    return Signal(
        kind=AlarmKind.ROLLOUT_WAITS,
        product=row.product,
        is_simulated=row.is_simulated,
        message=(
            f"Rollout {row.id} of {row.product}, wave {wait.wave + 1}, waits since {since:%Y-%m-%d %H:%M:%S} UTC for "
            f"{_WORDS[wait.kind]}{at}: {wait.why}."
        ),
        remedy=REMEDIES[wait.kind],
        evidence={
            "chart": f"rollout {row.id} wave {wait.wave + 1} {wait.kind.value}",
            "rollout_id": row.id,
            "wave": wait.wave + 1,
            "waits_for": wait.kind.value,
            "since": since.isoformat(),
            "stations": list(wait.stations[:100]),
            "said": wait.why,
        },
    )


_WORDS: Final = {
    WaitKind.APPROVAL: "an approval",
    WaitKind.RESUME: "being resumed",
    WaitKind.BEGIN: "a station to begin with",
    WaitKind.PLAN: "a plan that takes a station",
    WaitKind.AWAY: "stations that are out of reach",
    WaitKind.EVIDENCE: "evidence",
    WaitKind.WINDOW: "a time in which it may touch stations",
}


def _end(session: Session, gone: RolloutWait, now: datetime) -> None:
    _end_alarm(session, gone, now)
    session.delete(gone)


def _end_alarm(session: Session, wait: RolloutWait, now: datetime) -> None:
    alarm = session.get(Alarm, wait.alarm_id) if wait.alarm_id is not None else None
    if alarm is not None:
        close(alarm, f"rollout {wait.rollout_id} went on", now)
        session.add(alarm)
