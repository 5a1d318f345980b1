# SPDX-License-Identifier: Apache-2.0
"""Finds out what happened to alarms, and puts it into the outboxes of the routes that want it.

Looks at the alarms' rows and compares them with what was told of them (`AlarmTold`), so nobody who raises, folds,
acknowledges or closes an alarm has to know of routes or wait for them, and what happened while central was away is
found afterwards. A signal that folds into an open alarm changes no state and so tells nobody anything. Sends nothing:
that is `services/alarms/delivering.py`. Called in one transaction that stores all of it or nothing.
"""

import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import Session, col, func, select

from central.domain.alarm_routes import AlarmRoute
from central.domain.alarm_severity import severity_of
from central.services.alarms.messages import told_of
from central.store.alarm_route_tables import AlarmDelivery, AlarmRouteRow, AlarmTold
from central.store.learning_tables import Alarm
from central.store.repositories import alarm_routes
from contracts.vocabulary import AlarmEvent, AlarmState, DeliveryState

_LOG = logging.getLogger(__name__)

# Events put into outboxes in one transaction: it keeps ingest waiting. The rest comes in the next.
_MOST_PUT: Final = 250
# Two transactions may commit in the other order than they took their numbers.
_LATE_NUMBERS: Final = 1_000


@dataclass(frozen=True)
class _Happened:
    """An event of an alarm."""

    alarm: Alarm
    event: AlarmEvent
    at: datetime
    number: int = 0


@dataclass
class _Open:
    """A route in this transaction: its row, and how many more events it can take."""

    row: AlarmRouteRow
    route: AlarmRoute
    room: int


def has_news(session: Session, now: datetime) -> bool:
    """Whether `collect` would find anything. Reads only, so that an idle plant writes nothing."""
    opened = [_Open(row, alarm_routes.read_route(row), 1) for row in alarm_routes.routes(session)]
    return bool(_changed(session, 1)) or any(_to_remind(session, each.route, now) for each in opened)


def collect(session: Session, backlog_rows: int, now: datetime) -> bool:
    """Put new events of alarms into the outboxes, as many as a short transaction takes; whether there may be more."""
    waiting = alarm_routes.undelivered(session)
    opened = []
    for row in alarm_routes.routes(session):
        route = alarm_routes.read_route(row)
        if route.is_enabled:
            opened.append(_Open(row, route, backlog_rows - sum(waiting.get(row.name, {}).values())))
    most = max(1, _MOST_PUT // max(1, len(opened)))
    changed = _changed(session, most)
    for alarm, before in changed:
        for happened in _events(alarm, before, now):
            told = told_of(alarm, happened.event, happened.at)
            for each in opened:
                _put(session, each, happened, told, now)
        _tell(session, alarm, before)
    for each in opened:
        # A reminder that finds no room is no loss: the alarm itself waits there.
        for happened in _to_remind(session, each.route, now)[: max(0, each.room)]:
            told = told_of(happened.alarm, happened.event, now)
            _put(session, each, happened, told, now)
    session.flush()
    return len(changed) == most


def _changed(session: Session, most: int) -> list[tuple[Alarm, AlarmState | None]]:
    """Alarms that moved on since routes were told of them, with the state that was told; None: nothing was."""
    newest = session.exec(select(func.max(AlarmTold.alarm_id))).one() or 0
    is_told = select(AlarmTold.alarm_id).where(AlarmTold.alarm_id == Alarm.id).exists()
    new = select(Alarm).where(col(Alarm.id) > newest - _LATE_NUMBERS, ~is_told).order_by(col(Alarm.id)).limit(most)
    moved = (
        select(Alarm, AlarmTold.state)
        .join(AlarmTold, col(AlarmTold.alarm_id) == col(Alarm.id))
        .where(AlarmTold.state != AlarmState.CLOSED, AlarmTold.state != Alarm.state)
        .order_by(col(Alarm.id))
        .limit(most)
    )
    told: list[tuple[Alarm, AlarmState | None]] = [(row[0], AlarmState(row[1])) for row in session.exec(moved).all()]
    return (told + [(alarm, None) for alarm in session.exec(new).all()])[:most]


def _events(alarm: Alarm, before: AlarmState | None, now: datetime) -> list[_Happened]:
    """What happened to it since, in order: it may have been acknowledged and closed between two looks."""
    events = []
    if before is None:
        events.append(_Happened(alarm, AlarmEvent.RAISED, alarm.raised_at))
    if before in (None, AlarmState.RAISED) and alarm.acknowledged_by is not None:
        # The row does not say when; a look every two seconds does.
        events.append(_Happened(alarm, AlarmEvent.ACKNOWLEDGED, now))
    if alarm.state is AlarmState.CLOSED:
        events.append(_Happened(alarm, AlarmEvent.CLOSED, alarm.closed_at or now))
    return events


def _put(session: Session, to: _Open, happened: _Happened, told: dict[str, Any], now: datetime) -> None:
    alarm, event = happened.alarm, happened.event
    severity = severity_of(alarm.kind, alarm.evidence)
    if event not in to.route.events or not _passes(to.route, alarm):
        return
    if to.room <= 0:
        to.row.unsaid += 1
        session.add(to.row)
        _LOG.error("alarm event not taken, too many wait route=%s alarm_id=%s event=%s", to.row.name, alarm.id, event)
        return
    to.room -= 1
    held_until = to.route.held_until(event, severity, now)
    assert alarm.id is not None  # noqa: S101 - it was read
    session.add(
        AlarmDelivery(
            route=to.row.name,
            alarm_id=alarm.id,
            event=event,
            number=happened.number,
            at=happened.at,
            severity=severity,
            told=told,
            message_id=uuid.uuid4().hex,
            state=DeliveryState.WAITING if held_until is None else DeliveryState.HELD,
            due_at=held_until or now,
        )
    )


def _tell(session: Session, alarm: Alarm, before: AlarmState | None) -> None:
    """Note that routes have got what happened to it."""
    assert alarm.id is not None  # noqa: S101 - it was read
    # A new one is not asked for: the question would write all that was put so far, alarm by alarm.
    told = None if before is None else session.get(AlarmTold, alarm.id)
    if told is None:
        told = AlarmTold(alarm_id=alarm.id, state=alarm.state)
    told.state = alarm.state
    session.add(told)


def _passes(route: AlarmRoute, alarm: Alarm) -> bool:
    return route.filter.passes(
        alarm.kind,
        severity_of(alarm.kind, alarm.evidence),
        alarm.station,
        alarm.product,
        is_simulated=alarm.is_simulated,
    )


def _to_remind(session: Session, route: AlarmRoute, now: datetime) -> list[_Happened]:
    """Reminders that are due, of alarms that nobody has acknowledged for long.

    Counted from when people could have read the last message: what still waits or is held is not repeated.
    """
    if not (route.is_enabled and route.reminders.most):
        return []
    done = func.count(col(AlarmDelivery.done_at))
    sums = (
        select(AlarmDelivery.alarm_id, func.max(AlarmDelivery.number), func.max(AlarmDelivery.done_at))
        .join(Alarm, col(Alarm.id) == col(AlarmDelivery.alarm_id))
        .where(
            AlarmDelivery.route == route.name,
            col(AlarmDelivery.event).in_((AlarmEvent.RAISED, AlarmEvent.REMINDER)),
            Alarm.state == AlarmState.RAISED,
        )
        .group_by(col(AlarmDelivery.alarm_id))
        .having(
            done == func.count(),
            func.max(AlarmDelivery.number) < route.reminders.most,
            func.max(AlarmDelivery.done_at) <= now - timedelta(minutes=route.reminders.after_minutes),
        )
        .limit(_MOST_PUT)
    )
    due = []
    for alarm_id, number, _ in session.exec(sums).all():
        alarm = session.get(Alarm, alarm_id)
        # The route may have been changed since it told of the alarm.
        if alarm is not None and _passes(route, alarm):
            due.append(_Happened(alarm, AlarmEvent.REMINDER, now, number + 1))
    return due
